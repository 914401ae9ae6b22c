"""Build step: the wire contract becomes the package alayadb.v1.

The .proto files are the server's own: in the repository they lie in ../../proto, in a source
distribution in ./proto, where `sdist` copies them. Everything else is in pyproject.toml.
"""

import re
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

ROOT = Path(__file__).resolve().parent
REPOSITORY = ROOT.parent.parent
GENERATED = ROOT / "src" / "alayadb" / "v1"


def proto_folder() -> Path:
    """The folder that holds alaya/v1/*.proto; the source distribution's copy comes first."""
    for folder in (ROOT / "proto", REPOSITORY / "proto"):
        if (folder / "alaya" / "v1").is_dir():
            return folder
    raise FileNotFoundError(
        f"alaya/v1/*.proto is neither in {ROOT / 'proto'} nor in {REPOSITORY / 'proto'}: "
        "build from a checkout of the whole repository or from a source distribution"
    )


def generate() -> None:
    """Writes src/alayadb/v1. google/rpc comes from googleapis-common-protos at run time."""
    import grpc_tools
    from grpc_tools import protoc

    protos = proto_folder()
    work = ROOT / "build" / "generated"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    sources = sorted(str(path) for path in (protos / "alaya" / "v1").glob("*.proto"))
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    arguments = ["protoc", f"-I{protos}", f"-I{well_known}"]
    arguments += [f"--{kind}_out={work}" for kind in ("python", "pyi", "grpc_python")]
    if protoc.main(arguments + sources) != 0:
        raise RuntimeError(f"protoc failed on {protos}")

    shutil.rmtree(GENERATED, ignore_errors=True)
    GENERATED.mkdir(parents=True)
    (GENERATED / "__init__.py").write_text('"""Generated from proto/alaya/v1: do not edit."""\n')
    for path in sorted((work / "alaya" / "v1").iterdir()):
        text = path.read_text()
        # protoc names modules by the files' place in proto/; they live in this package.
        text = re.sub(r"^from alaya\.v1 import ", "from alayadb.v1 import ", text, flags=re.M)
        text = re.sub(r"'alaya\.v1\.(\w+_pb2)'", r"'alayadb.v1.\1'", text)
        has_service = "Stub(object)" in text
        if path.name.endswith("_pb2_grpc.py") and not has_service:
            continue
        (GENERATED / path.name).write_text(text)


class BuildPy(build_py):
    def finalize_options(self) -> None:
        # Before setuptools looks for the modules of alayadb.v1.
        generate()
        super().finalize_options()


class Sdist(sdist):
    """Adds the .proto files and the license; leaves out what the build generates."""

    def make_release_tree(self, base_dir, files):  # type: ignore[no-untyped-def]
        generated = str(GENERATED.relative_to(ROOT))
        super().make_release_tree(base_dir, [f for f in files if not f.startswith(generated)])
        protos = proto_folder()
        for path in sorted(protos.glob("**/*.proto")):
            copy = Path(base_dir) / "proto" / path.relative_to(protos)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
        for folder in (REPOSITORY, ROOT):
            if (folder / "LICENSE").is_file():
                shutil.copy(folder / "LICENSE", base_dir)
                break


setup(cmdclass={"build_py": BuildPy, "sdist": Sdist})
