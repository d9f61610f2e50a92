"""Links inside an archive: each leads to the bytes, or to the folder, that it means; no link leads out of it."""

from collections import deque
from dataclasses import dataclass
from pathlib import PurePosixPath

from pipeline.common.errors import UserError

# as many links in a row as Linux follows
MOST_IN_A_ROW = 40
MOST_FILES = 1 << 20


@dataclass(frozen=True)
class Link:
    """target: as it stands in the archive. from_root: counted from the archive's root, as a hard link's is."""

    target: str
    from_root: bool = False


def checked(path, name, link):
    """`link`, with plain slashes. Raises UserError where it leads out of the archive."""
    target = link.target.replace("\\", "/")
    place = PurePosixPath(target) if link.from_root else PurePosixPath(name).parent / target
    depth = 0
    for part in place.parts:
        depth += {"..": -1, ".": 0}.get(part, 1)
        if depth < 0 or part == "/":
            raise UserError(f"{path}: link '{name}' points out of the archive to '{link.target}'; refused")
    return Link(target, link.from_root)


class Tree:
    """Paths of an archive's files, folders and links, to follow links in."""

    def __init__(self, path, files, folders, links):
        self.path, self.files, self.links = path, files, links
        self.children = {"": set()}
        for name in (*files, *folders, *links):
            self._plant(name)
        for name in folders:
            self.children.setdefault(name, set())

    def _plant(self, name):
        while name:
            parent, _, last = name.rpartition("/")
            known = parent in self.children
            self.children.setdefault(parent, set()).add(last)
            if known:
                return
            name = parent

    def aliases(self):
        """What all links make: name -> file that it leads to; folders; loops; name -> why it leads to nothing.

        A loop is a link to a folder that holds it: it is not followed, and nothing is lost by that.
        """
        found, folders, loops, broken = {}, [], [], {}
        waiting = [(name, name, _above(name)) for name in self.links]
        while waiting:
            # `name` as it is reached, the link or file `real` that stands there, and the folders it is reached through
            name, real, through = waiting.pop()
            end = self._end(real)
            if end is None:
                broken[name] = "leads round in a circle"
            elif end in self.files:
                found[name] = end
            elif end not in self.children:
                broken[name] = f"leads to '{end}', which is not in the archive"
            elif end in through:
                loops.append(name)
            else:
                folders.append(name)
                inside = through | _above(f"{end}/x")
                waiting += [(f"{name}/{last}", f"{end}/{last}" if end else last, inside) for last in self.children[end]]
            if len(found) + len(waiting) > MOST_FILES:
                raise UserError(f"{self.path}: its links make over {MOST_FILES:,} files of it; refused")
        return found, folders, loops, broken

    def _end(self, name):
        """What a path leads to, all links on the way followed; None where they lead round in a circle."""
        waiting, real, hops = deque(name.split("/")), [], 0
        while waiting:
            part = waiting.popleft()
            if part == "..":
                # the archive was checked to hold no path that leads above its root
                real = real[:-1]
            elif part not in ("", "."):
                link = self.links.get("/".join([*real, part]))
                if link is None:
                    real.append(part)
                    continue
                hops += 1
                if hops > MOST_IN_A_ROW:
                    return None
                real = [] if link.from_root else real
                waiting.extendleft(reversed(link.target.split("/")))
        return "/".join(real)


def _above(name):
    """The folders above a path, the root among them."""
    return frozenset(str(parent) if str(parent) != "." else "" for parent in PurePosixPath(name).parents)
