"""The compiled parts of the plugin; everything else is in pyproject.toml."""

import subprocess
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

NATIVE = Path("nbd_plugin/native")
FRONT = [NATIVE / "front.c", NATIVE / "cork.c", NATIVE / "read_ahead.c"]
# The same as an editor's: clangd reads that file. What is hidden there are names that would else
# be looked up in all of nbdkit first. A request of 4 KiB goes through a dozen small functions of
# several files: put together when linking, they cost 1 to 2 % less.
OPTIONS = (NATIVE / "compile_flags.txt").read_text().split()
HEADERS = [*sorted(map(str, NATIVE.glob("*.h"))), str(NATIVE / "compile_flags.txt")]


def plugin_directory() -> str:
    """Where nbdkit's own plugins are, the Python plugin among them."""
    dumped = subprocess.run(
        ["/usr/bin/nbdkit", "--dump-config"], capture_output=True, text=True, check=True
    ).stdout
    settings = dict(line.split("=", 1) for line in dumped.splitlines())
    return settings["plugindir"]


class Build(build_ext):
    """One of them is no module of Python's, and is not called as if it were."""

    def get_ext_filename(self, fullname: str) -> str:
        """Where an extension is built."""
        if fullname.endswith("front"):
            return str(Path(*fullname.split("."))) + ".so"
        return str(super().get_ext_filename(fullname))


setup(
    cmdclass={"build_ext": Build},
    ext_modules=[
        Extension(
            "nbd_plugin.front",
            [str(file) for file in FRONT],
            depends=HEADERS,
            define_macros=[("NBDKIT_PLUGIN_DIRECTORY", f'"{plugin_directory()}"')],
            extra_compile_args=OPTIONS,
            extra_link_args=["-flto=auto"],
        ),
        *cythonize(
            Extension(
                "nbd_plugin._datapath",
                [
                    "nbd_plugin/_datapath.pyx",
                    *(str(file) for file in sorted(NATIVE.glob("*.c")) if file not in FRONT),
                ],
                depends=HEADERS,
                libraries=["crypto"],
                extra_compile_args=OPTIONS,
                extra_link_args=["-flto=auto"],
            ),
            language_level=3,
        ),
    ],
)
