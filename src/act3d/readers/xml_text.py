"""Reading untrusted XML: no entities, no DTD, no network; names without their namespaces."""

from collections.abc import Callable
from xml.etree import ElementTree
from xml.parsers import expat

from act3d.errors import InputError


def _refuse_entity(*_: object) -> None:
    raise InputError("declares XML entities, which are not read")


def scan_xml(data: bytes, start: Callable[[str, dict[str, str]], None], end: Callable[[str], None]) -> None:
    """Call `start(name, attributes)` and `end(name)` for every element; names are "namespace local" or "local".

    Raises:
        InputError: No well-formed XML, or one that declares entities.
    """
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.EntityDeclHandler = _refuse_entity
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise InputError(f"is no well-formed XML ({error})") from None


def parse_xml(data: bytes) -> ElementTree.Element:
    """The root of a document, every tag and attribute without its namespace; see `scan_xml` for errors."""
    builder = ElementTree.TreeBuilder()
    parser = expat.ParserCreate(namespace_separator=" ")

    def start(name: str, attributes: dict[str, str]) -> None:
        builder.start(local(name), {local(key): value for key, value in attributes.items()})

    def end(name: str) -> None:
        builder.end(local(name))

    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, builder.data
    parser.EntityDeclHandler = _refuse_entity
    parser.buffer_text = True
    parser.buffer_size = 1 << 16
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise InputError(f"is no well-formed XML ({error})") from None
    return builder.close()


def local(name: str) -> str:
    """A name without its namespace."""
    return name.rpartition(" ")[2]
