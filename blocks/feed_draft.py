"""The draft of a feed, made from a sample of its files for a person to finish.

What was found stands as YAML; whatever is a guess, or could not be found, is said in a comment beside it, and
what somebody must do is marked TODO.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any
from unicodedata import combining, normalize

import yaml

from blocks.csv_sample import SAMPLE_LINES, FileColumn, Sample, read_sample
from blocks.feeds import Contract
from blocks.notation import Marks, Times, find_marks, find_times, is_time

# What files call the contract's columns, besides what the contract calls them. Case, accents and marks are nothing.
SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "order_id": (
        "order", "order no", "order number", "order nr", "invoice", "invoice id", "invoice no", "invoice number",
        "receipt", "receipt no", "transaction id", "transaction no", "Bestellnummer", "Auftragsnummer",
        "Rechnungsnummer", "Belegnummer", "numero de commande", "numero de pedido",
    ),
    "line_number": (
        "line", "line no", "line nr", "line item", "order line", "position", "pos",
        "Positionsnummer", "Zeile",
    ),
    "product_id": (
        "product no", "product number", "product code", "sku", "stock code", "item", "item id", "item no",
        "item number", "item code", "article", "article id", "article no", "article number", "asin", "ean", "gtin",
        "upc", "Artikelnummer", "Art.-Nr.", "Produktnummer", "reference",
    ),
    "product_name": (
        "product", "product title", "product description", "description", "item name", "item description", "title",
        "Artikel", "Artikelbezeichnung", "Artikelname", "Bezeichnung", "Produkt", "Beschreibung", "designation",
    ),
    "product_category": (
        "category", "product group", "product type", "department", "item category", "Kategorie", "Warengruppe",
        "Produktgruppe", "categorie",
    ),
    "customer_id": (
        "customer", "customer no", "customer number", "client", "client id", "buyer", "buyer id", "account id",
        "user id", "Kunde", "Kundennummer", "Kunden-ID",
    ),
    "customer_segment": ("segment", "customer group", "customer type", "customer class", "Kundengruppe"),
    "country": (
        "country code", "country name", "customer country", "ship country", "shipping country", "billing country",
        "Land", "Lieferland", "pays", "pais",
    ),
    "quantity": (
        "qty", "quantity ordered", "order quantity", "order qty", "units", "units sold", "pieces", "pcs",
        "Menge", "Anzahl", "Stück", "Stückzahl", "quantite", "cantidad",
    ),
    "unit_price": (
        "price", "price per unit", "item price", "sale price", "selling price", "price each", "Preis", "Einzelpreis",
        "Stückpreis", "prix unitaire", "prix", "precio",
    ),
    "currency": ("currency code", "ccy", "cur", "Währung", "devise", "moneda"),
    "ordered_at": (
        "order date", "order time", "order datetime", "order timestamp", "ordered", "ordered on", "invoice date",
        "sale date", "sold at", "purchase date", "transaction date", "transaction time", "date", "datetime",
        "timestamp", "created at", "created", "Bestelldatum", "Bestellt", "Rechnungsdatum", "Datum", "fecha",
    ),
    "updated_at": (
        "updated", "last updated", "update date", "modified", "modified at", "last modified", "changed at",
        "change date", "Geändert", "Geändert am", "Änderungsdatum", "Aktualisiert",
    ),
}  # fmt: skip
ALIKE = 0.85  # of 1; orderdate and order_dt are, country and county are, unit price and total price are not
TOLD_BY_VALUES = (
    "unit_price",
    "currency",
    "ordered_at",
)  # others have columns beside them that look the same
TOLD_ELSEWHERE = ("source", "currency", "line_number")  # in the draft, if nothing is mapped to them
SHOWN = 40
KINDS = {"integer": "integer", "long": "integer", "timestamp": "timestamp", "string": "text"}  # else decimal


@dataclass(frozen=True)
class Candidate:
    """A column of the file that may be mapped: its name, what its values are, an example of them.

    `kind` is integer, decimal, timestamp or text; "" if it has no values.
    """

    name: str
    kind: str
    values: tuple[str, ...]

    def fits(self, column_type: str) -> bool:
        """Say whether its values can be read as a type of the contract."""
        wanted = KINDS.get(column_type, "decimal")
        return wanted == "text" or self.kind in ("", wanted) or (wanted, self.kind) == ("decimal", "integer")

    @property
    def contents(self) -> str:
        """What its values are, and an example."""
        return f"{self.kind} such as {_printable(self.values[0])}" if self.values else "empty"

    def __str__(self) -> str:
        return f"{_printable(self.name)} ({self.contents})"


@dataclass(frozen=True)
class Mapped:
    """The column of the file that a column of the contract is read from; `why` is said of what is a guess."""

    column: Candidate
    why: str = ""


def draft_feed(path: Path, name: str, contract: Contract) -> str:
    """Draft the YAML of a feed of this name from a sample of one of its files.

    Raises WillNotHeal if there is no such file, or it is empty, damaged, no text or not separated into columns.
    """
    sample = read_sample(path)
    marks, doubtful = find_marks(c.values for c in sample.columns if not is_time(c.values))
    candidates = [_candidate(column, marks) for column in sample.columns]
    mapped = map_columns(candidates, contract, by_name=sample.header)
    times = find_times(
        value
        for wanted, found in mapped.items()
        if contract.columns[wanted].type == "timestamp"
        for value in found.column.values
    )
    parts = (
        _preamble(path, sample),
        _dialect(path, sample),
        _header(sample, candidates),
        _numbers(marks, doubtful),
        _constants(name, candidates, mapped, contract),
        _columns(candidates, mapped, contract),
        _line_number(mapped),
        _timestamps(times),
        _leftovers(candidates, mapped),
    )
    return "".join(f"{line}\n" for part in parts for line in part)


def name_from(path: Path) -> str:
    """Name a feed after one of its files: `Umsätze 2025.csv.gz` gives umsatze_2025."""
    letters = normalize("NFKD", path.name.partition(".")[0].lower()).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "_", letters).strip("_") or "feed"


def map_columns(
    candidates: Sequence[Candidate], contract: Contract, by_name: bool = True
) -> dict[str, Mapped]:
    """Find for the contract's columns, in its order, those of the file: by name, the few rest by their values.

    A column is never mapped twice, but for updated_at, which is ordered_at where a file has no other. Columns
    without a name of their own are left out: the job cannot tell them apart.
    """
    uses = Counter(candidate.name for candidate in candidates)
    usable = [candidate for candidate in candidates if candidate.name and uses[candidate.name] == 1]
    found: dict[str, Mapped] = {}
    if by_name:
        found |= _mapped_by_name(usable, contract)
    for wanted in TOLD_BY_VALUES:
        taken = {mapped.column for mapped in found.values()}
        fitting = [c for c in usable if c not in taken and _looks_like(c, wanted, contract)]
        if wanted not in found and len(fitting) == 1:
            found[wanted] = Mapped(fitting[0], "by its values alone: is it?")
    if "ordered_at" in found and "updated_at" not in found:
        found["updated_at"] = replace(found["ordered_at"], why="no other time of change was found")
    return {name: found[name] for name in contract.columns if name in found}


def _mapped_by_name(candidates: Sequence[Candidate], contract: Contract) -> dict[str, Mapped]:
    pairs = [
        (likeness, wanted, candidate)
        for wanted, column in contract.columns.items()
        for candidate in candidates
        if candidate.fits(column.type) and (likeness := alike(wanted, candidate.name)) >= ALIKE
    ]
    found: dict[str, Mapped] = {}
    for likeness, wanted, candidate in sorted(pairs, key=lambda pair: -pair[0]):
        if wanted not in found and candidate not in (mapped.column for mapped in found.values()):
            found[wanted] = Mapped(candidate, "" if likeness == 1 else "by a similar name: is it?")
    return found


def alike(wanted: str, name: str) -> float:
    """Say how much a name is like a contract's column or one of its synonyms: 0 not at all, 1 but for its marks."""
    given = _bare(name)
    known = [_bare(synonym) for synonym in (wanted, *SYNONYMS.get(wanted, ()))]
    return 1.0 if given in known else max(SequenceMatcher(None, given, one).ratio() for one in known)


def _bare(name: str) -> str:
    letters = (char for char in normalize("NFKD", name.casefold()) if not combining(char))
    return re.sub(r"[\W_]", "", "".join(letters))


def _looks_like(candidate: Candidate, wanted: str, contract: Contract) -> bool:
    """Say whether the values, the name apart, are such as only this column of the contract has."""
    kind = contract.columns[wanted].type
    if kind != "string":
        return candidate.kind == KINDS.get(kind, "decimal")
    return bool(candidate.values) and set(candidate.values) <= set(_allowed(wanted, contract))


def _allowed(column: str, contract: Contract) -> list[Any]:
    """Give the values that the contract's rules allow in a column; none if they do not say."""
    lists = [rule.value for rule in contract.rules if rule.column == column and rule.check == "one_of"]
    return lists[0] if lists else []


def _candidate(column: FileColumn, marks: Marks) -> Candidate:
    if not column.values:
        kind = ""
    elif is_time(column.values):
        kind = "timestamp"
    elif not marks.read_most(column.values):
        kind = "text"
    else:
        kind = "decimal" if any(marks.decimal in value for value in column.values) else "integer"
    return Candidate(column.name, kind, column.values)


def _preamble(path: Path, sample: Sample) -> Iterator[str]:
    first = "the first " if sample.lines + sample.header >= SAMPLE_LINES else ""
    yield f"# A draft, made from {first}{sample.lines:,} lines of {_printable(path.name)}."
    yield "# Where it says TODO, something is left to do."
    if sample.broken:
        yield (
            f"# TODO {sample.broken:,} of the lines do not split into {len(sample.columns)} fields, as the others do; "
            "the job quarantines them as malformed_row. If they are many, mend delimiter, quote or the file."
        )


def _dialect(path: Path, sample: Sample) -> Iterator[str]:
    suffixes = [suffix for suffix in path.suffixes if suffix.lower() not in (".gz", ".zip")]
    yield f"glob: {_scalar(f'*{suffixes[-1]}*' if suffixes else '*')} # which files are this feed's, by their name"
    texts = (text for column in sample.columns for text in (column.name, *column.values))
    special = next((text for text in texts if not text.isascii()), "")
    guess = {
        "windows-1252": f"a guess, as it is not UTF-8: is this right? {_printable(special)}",
        "utf-8": "" if special else "assumed, as the sample is plain ASCII",
    }
    yield _noted(f"encoding: {sample.encoding}", guess.get(sample.encoding, ""))
    yield f"delimiter: {_scalar(sample.dialect.delimiter)}"
    yield _noted(
        f"quote: {_scalar(sample.dialect.quote)}",
        "" if sample.dialect.quote else "quotes stand within fields here, not around them",
    )


def _header(sample: Sample, candidates: Sequence[Candidate]) -> Iterator[str]:
    if sample.header:
        yield "header: true"
        return
    yield "# TODO the file has no line of names: give its columns better ones, here and below."
    yield "header:"
    yield from (_noted(f"  - {_scalar(column.name)}", column.contents) for column in candidates)


def _numbers(marks: Marks, doubtful: str) -> Iterator[str]:
    if doubtful:
        value = marks.read(doubtful)
        yield f"# TODO is {_printable(doubtful)} the number {value}? If it is another, mend decimal and thousands."
    yield f"decimal: {_scalar(marks.decimal)}"
    yield f"thousands: {_scalar(marks.thousands)}"


def _constants(
    name: str, candidates: Sequence[Candidate], mapped: Mapping[str, Mapped], contract: Contract
) -> Iterator[str]:
    yield "constants:"
    yield f"  source: {_scalar(name)}"
    if "currency" not in mapped:
        allowed = _allowed("currency", contract)
        likely = [c for c in _unused(candidates, mapped) if not set(allowed).isdisjoint(c.values)]
        yield f"  # TODO currency: not found; {_advice('currency', 'string', likely)}. If all sales are in one, say so:"
        yield f"  # currency: EUR # allowed are {', '.join(map(str, allowed))}"


def _columns(
    candidates: Sequence[Candidate], mapped: Mapping[str, Mapped], contract: Contract
) -> Iterator[str]:
    yield "columns: # contract column: column of the file" if mapped else "columns: {}"
    for wanted, column in contract.columns.items():
        if found := mapped.get(wanted):
            yield _noted(f"  {wanted}: {_scalar(found.column.name)}", found.why)
        elif wanted not in TOLD_ELSEWHERE:
            optional = "" if column.required else " (optional)"
            advice = _advice(wanted, column.type, _unused(candidates, mapped))
            yield f"  # TODO {wanted}{optional}: not found; {advice}"


def _advice(wanted: str, column_type: str, left: Sequence[Candidate]) -> str:
    for candidate in left:
        if alike(wanted, candidate.name) >= ALIKE and not candidate.fits(column_type):
            return f"{candidate} is called so, but its values are no {column_type}"
    fitting = [_printable(candidate.name) for candidate in left if candidate.fits(column_type)]
    return f"perhaps {', '.join(fitting)}" if fitting else "no column is left that it could be"


def _line_number(mapped: Mapping[str, Mapped]) -> Iterator[str]:
    if "line_number" not in mapped:
        yield "line_number: content # the file does not number the lines of an order"
        yield "# key: [order, product] # the columns by which a line is known again once it was corrected"


def _timestamps(times: Times) -> Iterator[str]:
    yield "timestamps:"
    if not times.examples:
        yield "  # TODO no times were found. Patterns: https://spark.apache.org/docs/latest/sql-ref-datetime-pattern.html"
        yield "  formats: []"
        return
    if times.doubt:
        yield f"  # TODO is this right? {times.doubt[0].upper()}{times.doubt[1:]}."
    yield "  formats:"
    yield from (
        _noted(f"    - {json.dumps(pattern)}", _printable(text)) for pattern, text in times.examples.items()
    )
    if not all("X" in pattern for pattern in times.examples):
        yield "  # TODO the times do not say their zone: give the one they are local to, such as Europe/Berlin."
        yield "  time_zone: UTC"


def _leftovers(candidates: Sequence[Candidate], mapped: Mapping[str, Mapped]) -> Iterator[str]:
    if left := _unused(candidates, mapped):
        yield "# Columns of the file that nothing uses:"
        yield from (f"#   {candidate}" for candidate in left)


def _unused(candidates: Sequence[Candidate], mapped: Mapping[str, Mapped]) -> list[Candidate]:
    used = {found.column.name for found in mapped.values()}
    return [candidate for candidate in candidates if candidate.name not in used]


def _noted(line: str, comment: str) -> str:
    return f"{line} # {comment}" if comment else line


def _scalar(text: str) -> str:
    """Write a text as YAML, quoted where it must be."""
    return str(yaml.safe_dump([text], default_flow_style=True, allow_unicode=True, width=float("inf")))[1:-2]


def _printable(text: str) -> str:
    """Cut a text short, and leave out what would end the line of a comment."""
    shown = text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
    return "".join(char if char.isprintable() else "?" for char in shown)
