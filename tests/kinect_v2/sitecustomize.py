"""What comtypes and pykinect2 need of Windows, on Linux. Python runs this as it starts, with this folder in PYTHONPATH.

ctypes gets its Windows-only names, with the sizes of 64-bit Windows (a `long` has 4 bytes); methods of COM objects are
called through their tables, which on 64-bit Linux look as they do on Windows. Of the system's libraries only
Kinect20.dll exists: kinect20.c, compiled, where `KINECT20` names it.
"""

import _ctypes
import codecs
import ctypes
import os
import struct
import sys
import uuid
from typing import Any

S_OK = 0


class COMError(Exception):
    """As `_ctypes` has it on Windows: raised where a COM method returns a failure."""

    def __init__(self, hresult: int, text: object, details: object) -> None:
        super().__init__(hresult, text, details)
        self.hresult, self.text, self.details = hresult, text, details


class HRESULT(ctypes._SimpleCData):  # type: ignore[type-arg]
    """As ctypes has it on Windows: a function that returns a failure raises OSError."""

    _type_ = "i"

    @staticmethod
    def _check_retval_(result: int) -> int:
        if result < 0:
            raise OSError(result, "HRESULT")
        return result


def _prototype(restype: Any, *argtypes: Any) -> Any:
    """`ctypes.WINFUNCTYPE`, for methods of COM objects by their place in the table."""
    raw = ctypes.c_int32 if restype is HRESULT else restype  # COMError, not OSError
    function_type = ctypes.CFUNCTYPE(raw, ctypes.c_void_p, *argtypes)

    def by_place(place: int, name: str, flags: Any = None, iid: object = None) -> Any:
        if flags is None:
            flags = tuple((1, None) for _ in argtypes)

        def call(this: Any, *given: Any) -> Any:
            address = ctypes.c_void_p.from_buffer(this).value
            if not address:
                raise ValueError("NULL COM pointer access")
            waiting, passed, outs = list(given), [], []
            for (direction, *_), argtype in zip(flags, argtypes, strict=True):
                if direction & 2:
                    outs.append(argtype._type_())
                    passed.append(ctypes.byref(outs[-1]))
                else:
                    passed.append(waiting.pop(0))
            if waiting:
                raise TypeError(f"{name}: too many arguments")
            table = ctypes.c_void_p.from_address(address).value or 0
            entry = ctypes.c_void_p.from_address(table + place * struct.calcsize("P")).value or 0
            result = function_type(entry)(address, *passed)
            if restype is HRESULT and result < 0:
                raise COMError(result, None, (None, None, None, 0, None))
            values = [out.__ctypes_from_outparam__() for out in outs]
            return result if not values else values[0] if len(values) == 1 else tuple(values)

        return call

    return by_place


def _clsid_from_string(text: str, guid: Any) -> None:
    ctypes.memmove(ctypes.addressof(guid._obj), uuid.UUID(text).bytes_le, 16)


def _string_from_clsid(guid: Any, text: Any) -> None:
    text._obj.value = f"{{{uuid.UUID(bytes_le=bytes(guid._obj))}}}".upper()


_OF_OLE32 = {"CLSIDFromString": _clsid_from_string, "StringFromCLSID": _string_from_clsid}


class _Library:
    """A library of the system: whatever is called in it succeeds and does nothing."""

    def __init__(self, name: str, *_: object, **__: object) -> None:
        if name.lower().removesuffix(".dll") == "kinect20":
            self._library = ctypes.CDLL(os.environ.get("KINECT20", "Kinect20.dll"))

    def __getattr__(self, name: str) -> Any:
        if "_library" in self.__dict__:
            return getattr(self._library, name)

        def function(*arguments: Any) -> int:
            if name in _OF_OLE32:
                _OF_OLE32[name](*arguments)
            return S_OK

        setattr(self, name, function)  # its argument types are set on it
        return function


class _Loader:
    def __getattr__(self, name: str) -> _Library:
        return _Library(name)


class _SimpleMeta(type):
    """Makes subclasses of ctypes' own class, with types that exist here in place of BSTR and VARIANT_BOOL."""

    def __new__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> Any:
        if not bases:
            return super().__new__(cls, name, bases, namespace)
        known = {"X": "Z", "v": "h"}.get(namespace["_type_"], namespace["_type_"])
        return type(_SIMPLE)(name, (_SIMPLE,), namespace | {"_type_": known})


_SIMPLE: Any = ctypes._SimpleCData


class _SimpleCData(metaclass=_SimpleMeta):
    """In place of `ctypes._SimpleCData`."""


def _look_like_windows() -> None:
    codecs.register(lambda name: codecs.lookup("latin-1") if name == "mbcs" else None)
    windows: dict[str, Any] = {
        "HRESULT": HRESULT, "WINFUNCTYPE": _prototype, "WinDLL": _Library, "OleDLL": _Library,
        "windll": _Loader(), "oledll": _Loader(), "WinError": OSError, "FormatError": str, "c_long": ctypes.c_int32,
        "c_ulong": ctypes.c_uint32, "_SimpleCData": _SimpleCData,
    }  # fmt: skip
    for name, value in windows.items():
        setattr(ctypes, name, value)
    _ctypes.COMError = COMError  # type: ignore[attr-defined]
    _ctypes.CopyComPointer = None  # type: ignore[attr-defined]


if "skelanon.sensors.azure_kinect.child" not in sys.orig_argv:  # a node may have both; that one is on Linux
    _look_like_windows()
