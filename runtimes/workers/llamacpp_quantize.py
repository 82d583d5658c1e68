"""The child process that quantizes tensors with ggml's own kernels, on many threads, without the GIL.

Run by path with `python -P`; imports the standard library only, and calls the C functions that the shared
library in the xllamacpp wheel exports. Standard input is one line of JSON, and stays open as long as the
parent lives:

    parent    its process id
    sources   descriptors of the files that tensors are read from
    output    the descriptor of the file that they are written to, at the offsets that the tensors have
    matrix    a descriptor of the importance matrices' weights, F32, or null
    threads   how many work
    types     name -> [number, elements of a block, bytes of a block], of every type that occurs
    tensors   a list of [source, offset, type, output's offset, output's type, elements of a row, rows, rows
              of an expert, offset in the matrix or null]; where both types are the same, the bytes are copied

Standard output gets a line {"read": bytes of the sources so far} ten times a second, and one at the end. What
goes wrong is one line on standard error: {"slmctl_worker_error": {"kind", "message", "tensor"}}, with "kind"
one of "build" (this library is not one that the program knows), "data" (a tensor holds what is no number),
"range" (its numbers are too large for the type), "source" (a file is shorter than it was) and "output" (it
cannot be written; "errno" says why).

Rows are quantized one by one by the kernels, so how they are dealt out changes nothing in the result. Memory
is some 3 MB for each thread, or three rows where a row has more than a quarter of a million elements.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import signal
import sys
import threading
from importlib.util import find_spec
from typing import Any, NoReturn

DOCUMENT_BYTES = 64 * 1024 * 1024
PIECE_ELEMENTS = 256 * 1024  # some 0.3 ms of the fastest kernel: Python's part of a piece takes 0.02 ms
REPORT_SECONDS = 0.1
_PR_SET_PDEATHSIG = 1

_QUANTIZE = ctypes.CFUNCTYPE(
    ctypes.c_size_t,
    *(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p),
    *(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p),
)
_TO_FLOAT = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)


class TypeTraits(ctypes.Structure):
    """`struct ggml_type_traits` (ggml/include/ggml.h)."""

    _fields_ = [
        ("type_name", ctypes.c_char_p),
        ("block_elements", ctypes.c_int64),
        ("block_elements_interleaved", ctypes.c_int64),
        ("block_bytes", ctypes.c_size_t),
        ("is_quantized", ctypes.c_bool),
        ("to_float", ctypes.c_void_p),
        ("from_float_ref", ctypes.c_void_p),
    ]


class Failure(Exception):
    def __init__(self, kind: str, message: str, **more: Any) -> None:
        super().__init__(message)
        self.document = {"kind": kind, "message": message, **more}


def fail(document: dict[str, Any]) -> NoReturn:
    sys.stderr.write(json.dumps({"slmctl_worker_error": document}) + "\n")
    sys.stderr.flush()
    os._exit(1)


def die_with_parent() -> None:
    """Linux ends this process with the parent; elsewhere the end of standard input does."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def end_with_standard_input() -> None:
    while os.read(0, 4096):
        pass
    os._exit(1)


def read_document() -> dict[str, Any]:
    line = sys.stdin.buffer.readline(DOCUMENT_BYTES)
    if not line.endswith(b"\n"):
        fail({"kind": "document", "message": "standard input gave no document"})
    document = json.loads(line)
    if not isinstance(document, dict):
        fail({"kind": "document", "message": "the document is no object"})
    return document


class Ggml:
    """The library, after a look at whether it is of a kind that this program was written for."""

    def __init__(self, types: dict[str, list[int]], made: set[str]) -> None:
        found = find_spec("xllamacpp")
        if found is None or not found.submodule_search_locations:
            raise Failure("missing", "No module named 'xllamacpp'")
        folder = found.submodule_search_locations[0]
        here = os.listdir(folder)  # noqa: PTH208 - pathlib is slow to import
        names = sorted(name for name in here if name.startswith("xllamacpp") and ".so" in name)
        if not names:
            raise Failure("missing", "No module named 'xllamacpp'")
        self.library = ctypes.CDLL(os.path.join(folder, names[0]))  # noqa: PTH118
        try:
            self.quantize: Any = self._function("ggml_quantize_chunk", _QUANTIZE)
            self.is_valid: Any = self._function(
                "ggml_validate_row_data",
                ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t),
            )
            prepare: Any = self._function("ggml_quantize_init", ctypes.CFUNCTYPE(None, ctypes.c_int))
            traits = self._function(
                "ggml_get_type_traits", ctypes.CFUNCTYPE(ctypes.POINTER(TypeTraits), ctypes.c_int)
            )
        except AttributeError as error:
            raise Failure("build", f"it does not export a function ({error})") from None
        self.to_float: dict[str, Any] = {}
        for name, (number, elements, size) in types.items():
            found_type = traits(number).contents
            said = (found_type.type_name or b"").decode(errors="replace").upper()
            if (said, found_type.block_elements, found_type.block_bytes) != (name, elements, size):
                raise Failure("build", f"its type {number} is {said}, not {name}")
            if found_type.to_float:
                self.to_float[name] = _TO_FLOAT(found_type.to_float)
                check_reader(self.to_float[name], name, elements, size)
        for name in made:
            prepare(types[name][0])  # builds tables, once and before there are threads

    def _function(self, name: str, prototype: Any) -> Any:
        return prototype((name, self.library))


def check_reader(to_float: Any, name: str, elements: int, size: int) -> None:
    """Raise Failure for a function that stands where the one that reads a type was, and does something else:
    zeros are zeros in every type, and so many of them."""
    count = max(elements, 64)
    given = ctypes.create_string_buffer(max(count // elements * size, 4 * count))
    made = (ctypes.c_float * (2 * count))(*[1.0] * (2 * count))
    to_float(ctypes.addressof(given), ctypes.addressof(made), count)
    if any(made[:count]) or any(value != 1.0 for value in made[count:]):
        raise Failure("build", f"it reads {name} in a way that is not known")


class Buffer:
    """Memory at a page's start, and its address."""

    def __init__(self, size: int) -> None:
        self.memory = mmap.mmap(-1, max(size, 1))
        self.view = memoryview(self.memory)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))


class Work:
    """All pieces of all tensors, dealt out to threads one by one, and how far they are."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.sources: list[int] = document["sources"]
        self.output: int = document["output"]
        self.types: dict[str, list[int]] = document["types"]
        self.tensors: list[list[Any]] = document["tensors"]
        self.matrix = self._mapped(document["matrix"])
        self.ggml = Ggml(self.types, {tensor[4] for tensor in self.tensors if tensor[4] != tensor[2]})
        self.lock = threading.Lock()
        self.ended = threading.Condition(self.lock)
        self.running = 0
        self.tensor, self.row = 0, 0
        self.read = 0
        self.failure: dict[str, Any] | None = None

    @staticmethod
    def _mapped(descriptor: int | None) -> int | None:
        """The address of the importance matrices, read-only for this process's own good."""
        if descriptor is None:
            return None
        memory = mmap.mmap(descriptor, 0, access=mmap.ACCESS_COPY)
        Work.kept = memory  # type: ignore[attr-defined]  # as long as the process
        return ctypes.addressof(ctypes.c_char.from_buffer(memory))

    def sizes(self) -> tuple[int, int, int]:
        """Bytes that one thread needs to read, for F32 and to write, for the largest piece."""
        read = values = written = 0
        for _, _, kind, _, made, columns, rows, *_ in self.tensors:
            count = min(rows, max(1, PIECE_ELEMENTS // columns)) * columns
            read = max(read, self.bytes_of(kind, count))
            if kind != made:
                values = max(values, 0 if kind == "F32" else 4 * count)
                written = max(written, self.bytes_of(made, count))
        return read, values, written

    def bytes_of(self, kind: str, elements: int) -> int:
        _, block, size = self.types[kind]
        return elements // block * size

    def next_piece(self) -> tuple[int, int, int] | None:
        """A tensor, a row of it and a number of rows, all of one expert; None where all are taken."""
        with self.lock:
            if self.failure is not None or self.tensor == len(self.tensors):
                return None
            tensor, row = self.tensor, self.row
            columns, rows, expert_rows = self.tensors[tensor][5:8]
            count = min(max(1, PIECE_ELEMENTS // columns), rows - row, expert_rows - row % expert_rows)
            self.row += count
            if self.row == rows:
                self.tensor, self.row = tensor + 1, 0
            return tensor, row, count

    def thread(self, buffers: tuple[Buffer, Buffer, Buffer]) -> None:
        try:
            while (piece := self.next_piece()) is not None:
                done = self.piece(*piece, buffers)
                with self.lock:
                    self.read += done
        except Failure as failure:
            self.failed(failure.document)
        except OSError as error:
            self.failed({"kind": "output", "message": str(error.strerror), "errno": error.errno})
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is told and ends this process
            self.failed({"kind": "bug", "message": f"{type(error).__name__}: {error}"})
        finally:
            with self.ended:
                self.running -= 1
                self.ended.notify()

    def failed(self, document: dict[str, Any]) -> None:
        with self.lock:
            self.failure = self.failure or document

    def piece(self, tensor: int, row: int, count: int, buffers: tuple[Buffer, Buffer, Buffer]) -> int:
        """Quantize some rows; gives how many bytes were read."""
        source, start, kind, place, made, columns, _, expert_rows, matrix = self.tensors[tensor]
        given, values, result = buffers
        row_bytes = self.bytes_of(kind, columns)
        size = count * row_bytes
        self.fill(given.view[:size], self.sources[source], start + row * row_bytes)
        if not self.ggml.is_valid(self.types[kind][0], given.address, size):
            raise Failure("data", "a value is no number", tensor=tensor)
        at = place + row * self.bytes_of(made, columns)
        if kind == made:
            self.put(given.view[:size], at)
            return size
        floats = given.address
        if kind != "F32":
            floats = values.address
            self.ggml.to_float[kind](given.address, floats, count * columns)
        importance = None
        if matrix is not None and self.matrix is not None:
            importance = self.matrix + matrix + 4 * columns * (row // expert_rows)
        made_bytes = self.ggml.quantize(
            self.types[made][0], floats, result.address, 0, count, columns, importance
        )
        if made_bytes != self.bytes_of(made, count * columns):
            raise Failure("build", f"its kernel of {made} made {made_bytes} bytes")
        if not self.ggml.is_valid(self.types[made][0], result.address, made_bytes):
            raise Failure("range", f"{made} cannot hold its values", tensor=tensor)
        self.put(result.view[:made_bytes], at)
        return size

    def fill(self, view: memoryview, descriptor: int, offset: int) -> None:
        while view:
            try:
                got = os.preadv(descriptor, [view], offset)
            except OSError as error:
                raise Failure("source", str(error.strerror)) from None
            if not got:
                raise Failure("source", "it ends too early")
            view, offset = view[got:], offset + got

    def put(self, view: memoryview, offset: int) -> None:
        while view:
            written = os.pwrite(self.output, view, offset)
            view, offset = view[written:], offset + written

    def run(self, threads: int) -> None:
        sizes = self.sizes()
        self.running = threads
        for _ in range(threads):
            buffers = (Buffer(sizes[0]), Buffer(sizes[1]), Buffer(sizes[2]))
            threading.Thread(target=self.thread, args=(buffers,), daemon=True).start()
        with self.ended:
            while self.running:
                self.ended.wait(REPORT_SECONDS)
                self.report()
        if self.failure is not None:
            fail(self.failure)
        self.report()

    def report(self) -> None:
        sys.stdout.write(json.dumps({"read": self.read}) + "\n")
        sys.stdout.flush()


def main() -> None:
    die_with_parent()
    document = read_document()
    if os.getppid() != document.get("parent"):
        fail({"kind": "parent", "message": "the process that started this one is gone"})
    threading.Thread(target=end_with_standard_input, daemon=True).start()
    try:
        Work(document).run(document["threads"])
    except Failure as failure:
        fail(failure.document)
    except OSError as error:
        fail({"kind": "library", "message": str(error)})
    os._exit(0)  # the thread that reads standard input would hold up the end


if __name__ == "__main__":
    main()
