"""Lays what three nodes of Glance on one machine need: their configuration, and that of the rollout.

    python lay.py FOLDER --database mysql+pymysql://glance:glance@127.0.0.1:3306/glance --haproxy /run/haproxy/admin.sock

Everything is a text beside this file with a few names filled in. HAProxy itself is the reader's: a backend `images` with servers n1
to n3, and `option httpchk GET /healthcheck`.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from string import Template

HERE = Path(__file__).resolve().parent
RELEASES = ("27.0.0", "28.0.1")
NODES = ("n1", "n2", "n3")


@dataclass(frozen=True, slots=True)
class Site:
    folder: Path
    venvs: Path
    """Of the releases; one of each for all nodes, as they take minutes to make."""
    database: str
    """As Glance is told."""
    owner: str
    """The same database, as Hitless is told: who may also take backups of it."""
    socket: Path | None
    """HAProxy's runtime socket; None: nobody is drained, which the test needs in order to fail."""
    port: int = 9292
    network: str = "127.0.2"
    soak: float = 2.0

    def address(self, node: str) -> str:
        return f"{self.network}.{node[1:]}"

    def write(self) -> Path:
        """Every file; returns that of the rollout."""
        for name in ("images", "staging", "tasks", "backups"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        for node in NODES:
            home = self.folder / node
            home.mkdir(exist_ok=True)
            self._fill("glance-api.conf", home / "glance-api.conf", node=node, address=self.address(node))
        for release in RELEASES:
            target = self.folder / f"glance-db-{release}.toml"
            self._fill("glance-db.toml", target, release=release, database=self.owner)
        balancers = "{}"
        if self.socket is not None:
            balancers = f"{{front: {{kind: haproxy, instances: [{self.socket}], backends: [images]}}}}"
        return self._fill("rollout.yaml", self.folder / "rollout.yaml", balancers=balancers)

    def _fill(self, name: str, target: Path, **values: str) -> Path:
        known = {
            "here": str(HERE), "site": str(self.folder), "venvs": str(self.venvs), "database": self.database,
            "port": str(self.port), "network": self.network, "soak": f"{self.soak:g}", **values,
        }  # fmt: skip
        target.touch(mode=0o600)
        target.write_text(Template((HERE / name).read_text()).substitute(known))
        return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--database", required=True)
    parser.add_argument("--haproxy", type=Path, required=True, help="its runtime socket")
    options = parser.parse_args()
    folder = options.folder.resolve()
    site = Site(folder, folder / "venvs", options.database, options.database, options.haproxy)
    print(site.write())


if __name__ == "__main__":
    main()
