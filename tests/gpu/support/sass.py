"""The machine code of kernels (SASS): NVRTC compiles them, and nvdisasm disassembles them, without a GPU."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

from cuda_emulator import nvrtc

PRODUCTS = ("HMMA", "FFMA", "DFMA")
VECTOR_LOAD = "LDG.E.128.STRONG.GPU"
"""A load of 16 bytes from the second-level cache, of a packet or of a part of what a channel holds."""
_BYTES = 16  # of an instruction


@cache
def missing():
    """Return why no kernel can be looked at, or None."""
    return nvrtc.missing() or (None if _disassembler() else "nvidia-cuda-nvdisasm is not installed")


@cache
def _disassembler():
    try:
        files = metadata.files("nvidia-cuda-nvdisasm") or ()
    except metadata.PackageNotFoundError:
        return None
    return next((one.locate() for one in files if one.name == "nvdisasm"), None)


@dataclass(frozen=True)
class Instruction:
    """An instruction; `place` is its number in the kernel."""

    place: int
    opcode: str
    operands: str
    predicate: str

    @property
    def to(self):
        """The place that a branch goes to, or None."""
        found = re.search(r"0x([0-9a-f]+)$", self.operands) if self.opcode.startswith("BRA") else None
        return int(found[1], 16) // _BYTES if found else None

    @property
    def goes_on(self):
        """Whether the next instruction may follow."""
        return self.predicate != "" or self.opcode not in ("BRA", "EXIT", "RET.REL.NODEC")

    @property
    def registers(self):
        """The numbers of the registers that are named: the first one of each operand."""
        return [int(one) for one in re.findall(r"\bR(\d+)", self.operands)]


@dataclass(frozen=True)
class Loop:
    """The instructions of a loop, or of its end, by their places."""

    code: list[Instruction]

    def count(self, *opcodes):
        """Return how many instructions have an opcode that begins with one of these."""
        return sum(one.opcode.startswith(opcodes) for one in self.code)

    def after(self, opcode):
        """Return what follows the last instruction whose opcode begins with this."""
        last = max(i for i, one in enumerate(self.code) if one.opcode.startswith(opcode))
        return Loop(self.code[last + 1 :])

    def in_flight(self, opcode):
        """Return of each batch of loads of 16 bytes how many are issued before one of their results is used.

        A branch back ends a batch, too.
        """
        batches, loaded = [], set()
        for one in self.code:
            is_load, registers = one.opcode == opcode, one.registers
            if loaded & {*registers[is_load:]} or (one.to is not None and one.to <= one.place):
                loaded = set()
            if is_load:
                batches += [] if loaded else [0]
                batches[-1] += 1
                loaded |= {*range(registers[0], registers[0] + 4)}
        return batches


def step_loop(source, macros, name, capability=90):
    """Return a persistent kernel's loop over time steps: the innermost one with products and a barrier."""
    code = _kernel(nvrtc.cubin(source, macros, capability), name)
    loops = [Loop([code[place] for place in sorted(places)]) for places in _loops(code)]
    return min((one for one in loops if one.count(*PRODUCTS) and one.count("BAR")), key=lambda one: len(one.code))


def _kernel(cubin, name):
    with TemporaryDirectory() as folder:
        path = Path(folder, "cubin")
        path.write_bytes(cubin)
        command = [_disassembler(), "-json", "-ndf", path]
        text = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
    [code] = (one["sass-instructions"] for one in json.loads(text)[1] if one["function-name"] == name)
    fields = ("opcode", "operands", "predicate")
    return [Instruction(place, *(one.get(field, "") for field in fields)) for place, one in enumerate(code)]


def _loops(code):
    """Return the places of each natural loop; those with the same head are one."""
    after = [{one.to} - {None} | ({one.place + 1} if one.goes_on else set()) for one in code[:-1]] + [set()]
    before = [set() for _ in code]
    for place, following in enumerate(after):
        for one in following:
            before[one].add(place)
    loops = {}
    for one in code:
        # A branch back to a head that all ways from the start to the branch go through.
        if one.to is not None and one.to <= one.place and one.place not in _reached(0, after, one.to):
            loops.setdefault(one.to, {one.to}).update(_reached(one.place, before, one.to))
    return loops.values()


def _reached(start, edges, wall):
    """Return the places that can be reached from a start, which is one of them, but not through the wall."""
    found, new = set(), {start} - {wall}
    while new:
        found |= new
        new = {one for place in new for one in edges[place]} - found - {wall}
    return found
