"""NVRTC, which needs no GPU: compile a CUDA source with the options of CuPy."""

import functools

try:
    from cuda.bindings import nvrtc as library
except ImportError:
    library = None


@functools.cache
def missing():
    """Return why there is no compiler, or None."""
    if library is None:
        return "cuda-bindings is not installed"
    try:
        library.nvrtcVersion()
    except Exception as error:  # its kind depends on the version
        return f"no library of NVRTC: {str(error).splitlines()[0]}"
    return None


def machine_code(source, macros, capability):
    """Compile and assemble for a chip; return whether that succeeded, and the log."""
    options = [f"-arch=sm_{capability}", "--ptxas-options=-v"]
    done, log, _ = _compile(source, macros, options)
    return done, log


def ptx(source, macros, capability):
    """Compile to PTX, the input of the assembler."""
    return _compiled(source, macros, f"compute_{capability}", "PTX").rstrip(b"\0").decode()


def cubin(source, macros, capability):
    """Compile and assemble for a chip; return what the driver loads."""
    return _compiled(source, macros, f"sm_{capability}", "CUBIN")


def _compiled(source, macros, architecture, kind):
    done, log, code = _compile(source, macros, [f"-arch={architecture}"], kind)
    if not done:
        raise ValueError(log)
    return code


def _compile(source, macros, options, kind="CUBIN"):
    options = [*options, "-ftz=true", "--device-as-default-execution-space"]
    options += [f"-D{key}={value if isinstance(value, float) else int(value)}" for key, value in macros.items()]
    _, program = library.nvrtcCreateProgram(source.encode(), b"kernels", 0, [], [])
    (error,) = library.nvrtcCompileProgram(program, len(options), [option.encode() for option in options])
    log = _output(program, "ProgramLog").rstrip(b"\0").decode()
    code = b"" if error else _output(program, kind)
    library.nvrtcDestroyProgram(program)
    return not error, log, code


def _output(program, kind):
    _, size = getattr(library, f"nvrtcGet{kind}Size")(program)
    found = bytearray(size)
    getattr(library, f"nvrtcGet{kind}")(program, found)
    return bytes(found)
