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
    done, log, text = _compile(source, macros, [f"-arch=compute_{capability}"])
    if not done:
        raise ValueError(log)
    return text


def _compile(source, macros, options):
    options = [*options, "-ftz=true", "--device-as-default-execution-space"]
    options += [f"-D{key}={value if isinstance(value, float) else int(value)}" for key, value in macros.items()]
    _, program = library.nvrtcCreateProgram(source.encode(), b"kernels", 0, [], [])
    (error,) = library.nvrtcCompileProgram(program, len(options), [option.encode() for option in options])
    log = _text(library.nvrtcGetProgramLogSize, library.nvrtcGetProgramLog, program)
    text = "" if error else _text(library.nvrtcGetPTXSize, library.nvrtcGetPTX, program)
    library.nvrtcDestroyProgram(program)
    return not error, log, text


def _text(size_of, get, program):
    _, size = size_of(program)
    text = bytearray(size)
    get(program, text)
    return text.rstrip(b"\0").decode()
