"""Build step: proto/alaya/v1/*.proto become the package alaya.v1."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent
PROTO = HERE.parents[2] / "proto"
STUBS = Path("build/stubs")


class BuildPy(build_py):
    def finalize_options(self) -> None:
        import grpc_tools
        from grpc_tools import protoc

        STUBS.mkdir(parents=True, exist_ok=True)
        outputs = [f"--{kind}_out={STUBS}" for kind in ("python", "pyi", "grpc_python")]
        includes = [f"-I{PROTO}", f"-I{Path(grpc_tools.__file__).parent / '_proto'}"]
        sources = [str(path) for path in sorted(PROTO.glob("alaya/v1/*.proto"))]
        if protoc.main(["protoc", *includes, *outputs, *sources]) != 0:
            raise RuntimeError(f"protoc failed on {PROTO}")
        super().finalize_options()


setup(
    packages=["alaya.v1"],
    package_dir={"alaya.v1": str(STUBS / "alaya" / "v1")},
    package_data={"alaya.v1": ["*.pyi"]},
    cmdclass={"build_py": BuildPy},
)
