"""The report: figures over seeds, the page that shows them, and CSVs for `dvc plots`."""
