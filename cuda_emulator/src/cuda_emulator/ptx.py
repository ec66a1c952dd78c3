"""Translate PTX, the output of a CUDA compiler, to C++ for the emulator: one statement for each instruction.

Most instructions become calls of functions of the same name in ptx.h; loads and stores, of those in memory.h. An
unknown instruction is an error. Source: NVIDIA, PTX ISA 9.0, chapters 4 to 9.
"""

from __future__ import annotations

import re
from collections import ChainMap
from dataclasses import dataclass, field
from typing import TypeAlias

__all__ = ["translate"]

SPECIAL = {
    "%tid.x": "threadIdx.x",
    "%ntid.x": "blockDim.x",
    "%ctaid.x": "blockIdx.x",
    "%nctaid.x": "gridDim.x",
    "%cluster_ctarank": "cluster_rank()",
    "dynamic": "SHARED_WINDOW",  # the one array in shared memory, of the size that the launch gives
}
Opcode: TypeAlias = "re.Match[str]"

SPACE = r"(?:\.(?P<space>global|shared))?"  # none: any of them
ELEMENTS = r"(?:\.v[24])?\.(?P<type>\w+)"


def translate(text: str) -> str:
    """Return the C++ source of all kernels of a PTX module."""
    text = re.sub(r"//[^\n]*|/\*.*?\*/", " ", text, flags=re.DOTALL)
    kernels = []
    for found in re.finditer(r"\.entry\s+(\w+)\s*\(([^()]*)\)[^{]*\{", text):
        kernels.append(Kernel().source(found[1], found[2], block(text, found.end())))
    return "\n".join(['#include "ptx.h"', "using namespace cuda_emulator;", *kernels])


def block(text: str, start: int) -> str:
    """Return the text between a brace, which ends at `start`, and the matching one."""
    depth = 1
    for brace in re.finditer(r"[{}]", text[start:]):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return text[start : start + brace.start()]
    raise ValueError("a brace is missing")


@dataclass
class Kernel:
    """One entry of a module, during its translation.

    Attributes
    ----------
    registers : ChainMap
        C++ type of each register and parameter by its name, innermost block first.
    """

    registers: ChainMap[str, str] = field(default_factory=lambda: ChainMap({}))

    def source(self, name: str, parameters: str, body: str) -> str:
        signature = []
        for kind, parameter in re.findall(r"\.param\s+\.(\w+)(?:\s+\.\w+|\s+\d+)*\s+([a-z_]\w*)", parameters):
            self.registers[parameter] = cpp(kind)
            signature.append(f"{cpp(kind)} {variable(parameter)}")
        lines = [self.statement(text) for text in statements(body)]
        return "\n".join([f'extern "C" void {name}({", ".join(signature)}) {{', "memory_begin();", *lines, "}"])

    def statement(self, text: str) -> str:
        if text == "{":
            self.registers = self.registers.new_child()
            return "{"
        if text == "}":
            self.registers = self.registers.parents
            return "}"
        if text.endswith(":"):
            return f"{label(text[:-1])}:;"
        if text.startswith(".pragma"):
            return ""
        if text.startswith(".reg"):
            return self.declare(text)
        guard, opcode, rest = re.fullmatch(r"(?:@(!?%?\w+)\s+)?([a-z][\w.:]*)\s*(.*)", text, re.DOTALL).groups()
        line = self.instruction(opcode, operands(rest))
        return f"if ({self.value(guard, 'pred')}) {{ {line} }}" if guard else line

    def declare(self, text: str) -> str:
        """Declare registers, whose type is only a size."""
        kind, names = re.fullmatch(r"\.reg\s+\.(\w+)\s+(.*)", text, re.DOTALL).groups()
        kind = cpp(re.sub(r"^[suf]", "b", kind))
        declared = []
        for name in names.split(","):
            stem, count = re.fullmatch(r"\s*(%?\w+)(?:<(\d+)>)?\s*", name).groups()
            declared += [f"{stem}{i}" for i in range(int(count))] if count else [stem]
        self.registers |= dict.fromkeys(declared, kind)
        return f"{kind} {', '.join(map(variable, declared))};"

    def instruction(self, opcode: str, given: list[str]) -> str:
        for pattern, make in INSTRUCTIONS:
            if found := re.fullmatch(pattern, opcode):
                return make(self, found, *given)
        return self.computation(opcode, given)

    def jump(self, _found: Opcode, to: str) -> str:
        return f"goto {label(to)};"

    def end(self, _found: Opcode) -> str:
        return "{ memory_end(); return; }"

    def load_parameter(self, found: Opcode, to: str, parameter: str) -> str:
        return self.put(to, self.value(parameter.strip("[]"), found["type"]))

    def load(self, found: Opcode, to: str, address: str) -> str:
        into = ", ".join(map(variable, vector(to)))
        return f"load<{access(found)}>({self.address(address)}, {into});"

    def store(self, found: Opcode, address: str, given: str) -> str:
        values = ", ".join(self.value(value, found["type"]) for value in vector(given))
        return f"store<{access(found)}>({self.address(address)}, {values});"

    def add_release(self, _found: Opcode, address: str, value: str) -> str:
        return f"add_release({self.address(address)}, {self.value(value, 'u32')});"

    def nothing(self, _found: Opcode) -> str:
        return ""

    def barrier_init(self, _found: Opcode, address: str, arrivals: str) -> str:
        return f"barrier_init({self.address(address)}, {self.value(arrivals, 'u32')});"

    def barrier_expect(self, _found: Opcode, _state: str, address: str, count: str) -> str:
        return f"barrier_expect({self.address(address)}, {self.value(count, 'u32')});"

    def barrier_passed(self, _found: Opcode, to: str, address: str, parity: str) -> str:
        return self.put(to, f"barrier_passed({self.address(address)}, {self.value(parity, 'u32')})")

    def fence_acquire(self, _found: Opcode) -> str:
        return "fence_acquire();"

    def store_async(self, _found: Opcode, address: str, given: str, barrier: str) -> str:
        values = ", ".join(self.value(value, "b32") for value in vector(given))
        return f"store_async({self.address(address)}, {self.address(barrier)}, {values});"

    def move(self, found: Opcode, to: str, given: str) -> str:
        """Move; or several registers into a longer one, or the other way: the lowest bits first."""
        if to.startswith("{"):
            unwanted = f"uint{int(found['type'][1:]) // 2}_t {variable('_')};" if "_" in vector(to) else ""
            parts = ", ".join(map(variable, vector(to)))
            return f"{{ {unwanted} part({self.value(given, found['type'])}, {parts}); }}"
        if given.startswith("{"):
            return self.put(to, f"joined<{cpp(found['type'])}>({', '.join(map(variable, vector(given)))})")
        return self.put(to, self.value(given, found["type"]))

    def convert(self, found: Opcode, to: str, given: str) -> str:
        """Translate a conversion. The function's name distinguishes 16-bit types; tf32 is a float."""
        name, kinds = found["name"], [found["to"], found["from"]]
        for kind in ("f16", "tf32"):
            name += f"_{kind}" if kind in kinds else ""
        result, operand = ({"f16": "b16", "tf32": "f32"}.get(kind, kind) for kind in kinds)
        return self.put(to, f"{function(name)}<{cpp(result)}>({self.value(given, operand)})")

    def barrier(self, found: Opcode, *given: str) -> str:
        return f"{function(found[0])}({', '.join(self.value(one, 'u32') for one in given)});"

    def shuffle(self, found: Opcode, to: str, *given: str) -> str:
        """Translate a shuffle. Its predicate says whether the other lane exists: in whole warps it always does."""
        register, _, there = to.partition("|")
        call = f"{function(found['name'])}({', '.join(self.value(one, 'b32') for one in given)})"
        return self.put(register, call) + (self.put(there, "true") if there else "")

    def multiply(self, found: Opcode, *given: str) -> str:
        """Translate a product of matrices, whose fragments are vectors of registers."""
        fragments = [[f"&{variable(one)}" for one in vector(fragment)] for fragment in given]
        arrays = ", ".join(f"Fragment<{len(one)}>{{{{{', '.join(one)}}}}}" for one in fragments)
        return f"{function(found[0])}({arrays});"

    def computation(self, opcode: str, given: list[str]) -> str:
        """Translate an operation on registers, the first of which is the result; its type is at the opcode's end."""
        name, _, kind = opcode.rpartition(".")
        kinds = [kind] * (len(given) - 1)
        if name in ("shl", "shr", "mapa"):
            kinds[1] = "u32"
        elif name == "bfi":
            kinds[2:] = ["u32", "u32"]
        elif name == "selp":
            kinds[2] = "pred"
        values = ", ".join(self.value(one, one_kind) for one, one_kind in zip(given[1:], kinds, strict=True))
        return self.put(given[0], f"{function(name)}({values})")

    def value(self, text: str, kind: str) -> str:
        """Return an operand as an expression of a type."""
        if text.startswith("!"):
            return f"!{self.value(text[1:], kind)}"
        if text in SPECIAL:
            return f"{cpp(kind)}({SPECIAL[text]})"
        if text in self.registers:
            return f"as<{cpp(kind)}>({variable(text)})"
        if re.fullmatch(r"0f[0-9A-Fa-f]{8}", text):
            return f"as<{cpp(kind)}>(uint32_t(0x{text[2:]}u))"
        if re.fullmatch(r"0d[0-9A-Fa-f]{16}", text):
            return f"as<{cpp(kind)}>(uint64_t(0x{text[2:]}ull))"
        return f"{cpp(kind)}({int(text, 0) % 2**64:#x}ull)"

    def put(self, text: str, expression: str) -> str:
        return f"put({variable(text)}, {expression});"

    def address(self, text: str) -> str:
        base, offset = re.fullmatch(r"\[\s*(%?\w+)\s*(?:\+\s*(-?\w+))?\s*\]", text).groups()
        wide = self.registers.get(base) == cpp("u64")
        return f"{self.value(base, 'u64' if wide else 'u32')} + {int(offset or '0', 0)}ll"


INSTRUCTIONS = (
    (r"bra(\.uni)?", Kernel.jump),
    (r"ret", Kernel.end),
    (r"ld\.param\.(?P<type>\w+)", Kernel.load_parameter),
    (rf"ld(?:\.(?P<order>\w+)\.gpu)?{SPACE}(?:\.cg)?{ELEMENTS}", Kernel.load),
    (rf"st(?:\.(?P<order>\w+)\.gpu)?{SPACE}{ELEMENTS}", Kernel.store),
    (r"red\.release\.gpu\.global\.add\.u32", Kernel.add_release),
    (r"mbarrier\.init\.shared::cta\.b64", Kernel.barrier_init),
    (r"fence\.mbarrier_init\.release\.cluster", Kernel.nothing),  # the cluster's barrier releases more
    (r"mbarrier\.arrive\.expect_tx\.release\.cta\.shared::cta\.b64", Kernel.barrier_expect),
    (r"mbarrier\.try_wait\.parity\.relaxed\.cluster\.shared::cta\.b64", Kernel.barrier_passed),
    (r"fence\.acquire\.sync_restrict::shared::cluster\.cluster", Kernel.fence_acquire),
    (r"st\.async\.weak\.shared::cluster\.mbarrier::complete_tx::bytes\.v4\.b32", Kernel.store_async),
    (r"mov\.(?P<type>\w+)", Kernel.move),
    (r"(?P<name>cvt(?:\.[a-z]+)*)\.(?P<to>\w+)\.(?P<from>\w+)", Kernel.convert),
    (r"bar\..*|barrier\..*", Kernel.barrier),
    (r"(?P<name>shfl\.sync\.bfly)\.b32", Kernel.shuffle),
    (r"mma\..*", Kernel.multiply),
)


def statements(body: str) -> list[str]:
    """Split a body at semicolons, at labels, and at the braces of blocks (not those around operands)."""
    found, rest = [], body.strip()
    while rest:
        taken = re.match(r"[{}]|\$?\w+:", rest) or re.match(r"[^;]*;", rest)
        found.append(taken[0].removesuffix(";").strip())
        rest = rest[taken.end() :].lstrip()
    return [statement for statement in found if statement]


def operands(text: str) -> list[str]:
    return [part.strip() for part in re.findall(r"\{[^}]*\}|\[[^\]]*\]|[^,{}\[\]]+", text) if part.strip()]


def vector(text: str) -> list[str]:
    return [part.strip() for part in text.strip("{}").split(",")]


def access(found: re.Match[str]) -> str:
    """Return the template arguments of a load or a store."""
    return f"{(found['order'] or 'weak').upper()}, {(found['space'] or 'generic').upper()}, {cpp(found['type'])}"


def variable(register: str) -> str:
    return "r_" + register.lstrip("%")


def label(text: str) -> str:
    return "l_" + text.strip().lstrip("$")


def function(opcode: str) -> str:
    return "ptx_" + opcode.replace("::", "_").replace(".", "_")


def cpp(kind: str) -> str:
    """Return the C++ type of a PTX type."""
    if kind in (known := {"pred": "bool", "b128": "uint128_t", "f32": "float", "f64": "double"}):
        return known[kind]
    signed, bits = re.fullmatch(r"([sub])(8|16|32|64)", kind).groups()
    return f"{'' if signed == 's' else 'u'}int{bits}_t"
