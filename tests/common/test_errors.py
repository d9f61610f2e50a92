import numpy as np
import pytest
import torch

from pipeline.common.errors import one_line


@one_line
def main(error):
    raise error


def none_left(make):
    """The exception that asking for far too much memory raises."""
    try:
        make(1 << 50)
    except (MemoryError, RuntimeError) as error:
        return error
    raise AssertionError("this machine has a petabyte")


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 8 GiB"),
        RuntimeError("MPS backend out of memory (MPS allocated: 17 GB)"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        none_left(torch.empty),
        none_left(np.empty),
        MemoryError(),
    ],
    ids=["cuda", "mps", "cublas", "cpu", "numpy", "python"],
)
def test_memory_that_does_not_suffice_is_one_line(error, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(error)
    assert stopped.value.code == 1
    message = capsys.readouterr().err
    assert message.startswith(f"error: memory does not suffice ({type(error).__name__}: {str(error)[:40]}")
    assert "features.batch, finetune.batch" in message
    assert "run.device" in message
    assert message.count("\n") == 1


def test_other_errors_keep_their_traceback():
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        main(RuntimeError("a mistake of ours"))
