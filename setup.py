"""What pyproject.toml cannot say: all packages by their folders, and the optional C library."""

from setuptools import Extension, find_packages, setup

FOLDER = "converters/modelvault_converters/gguf/kernel"
HEADERS = ("blocks", "even", "group", "kernel", "lanes", "ranged", "search")

KERNEL = Extension(
    "modelvault_converters.gguf.kernel._kernel",
    sources=[f"{FOLDER}/{name}.c" for name in ("baseline", "avx2", "avx512", "dispatch")],
    depends=[f"{FOLDER}/{name}.h" for name in HEADERS],
    # No contraction, no fast math: each rounding decides bytes. Errno and traps only cost time.
    extra_compile_args=[
        *("-std=c11", "-O3", "-ffp-contract=off", "-fno-fast-math", "-fno-math-errno"),
        *("-fno-trapping-math", "-fno-strict-aliasing", "-fvisibility=hidden", "-Wno-psabi", "-g0"),
    ],
    py_limited_api=True,  # it uses nothing of Python: one build serves every version
    optional=True,  # without a compiler ggml's quantiser writes the same bytes
)

PACKAGES = [
    *find_packages(include=["modelvault", "modelvault.*"]),
    *find_packages("converters"),
    *("modelvault.migrations", "modelvault.migrations.versions"),  # from ``migrations/``
]

setup(
    packages=PACKAGES,
    ext_modules=[KERNEL],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
