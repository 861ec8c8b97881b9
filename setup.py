"""The compiled part of the plugin; everything else is in pyproject.toml."""

from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

setup(
    ext_modules=cythonize(
        [
            Extension(
                "nbd_plugin._datapath",
                ["nbd_plugin/_datapath.pyx"],
                depends=[str(header) for header in Path("nbd_plugin").glob("*.h")],
                libraries=["crypto"],
                extra_compile_args=["-O3", "-fno-strict-aliasing", "-Wall", "-Wextra"],
            )
        ],
        language_level=3,
    )
)
