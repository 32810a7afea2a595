"""Maps the root folders to the namespace package `skelanon`; all metadata is in pyproject.toml."""

from setuptools import find_packages, setup

FOLDERS = ["configs", "sensors", "export", "stream", "train", "audit", "cli"]

setup(
    packages=[f"skelanon.{p}" for f in FOLDERS for p in [f, *(f"{f}.{s}" for s in find_packages(f))]],
    package_dir={f"skelanon.{f}": f for f in FOLDERS},
    include_package_data=False,  # what is named below; else setuptools takes configs/train for a package and warns
    package_data={
        "skelanon.configs": ["*.yaml", "train/*.yaml", "audit/*.yaml"],
        "skelanon.export": ["*.onnx"],
        "skelanon.audit": ["py.typed", "report/*.j2"],
        **{f"skelanon.{f}": ["py.typed"] for f in ("sensors", "stream", "train", "cli")},
    },
)
