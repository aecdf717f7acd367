"""The one thing that pyproject.toml cannot say: the optional C library of the GGUF converter."""

from setuptools import Extension, setup

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

setup(ext_modules=[KERNEL], options={"bdist_wheel": {"py_limited_api": "cp311"}})
