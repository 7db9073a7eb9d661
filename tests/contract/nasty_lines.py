"""Lines that went wrong somewhere once, or might: each with what must become of it.

A case is the line's bytes and its fate: "" for a valid line, else the rules it breaks.
"""

from tests.contract.sales_batches import GOOD, HEADER, line

MEGABYTE = 1 << 20

NUMBERS = {
    "0": "not_zero", "-0": "not_zero", "+0": "not_zero", "00": "not_zero", "007": "", "+5": "", " 7 ": "",
    "2147483647": "", "-2147483648": "", "2147483648": "invalid", "-2147483649": "invalid",
    "99999999999999999999999": "invalid", "1" * 400: "invalid", "1e3": "invalid", "1.0": "invalid",
    "1.": "invalid", '"1,000"': "invalid", "1 000": "invalid", "1_000": "invalid", "1'000": "invalid",
    "0x1F": "invalid", "1L": "invalid", "NaN": "invalid", "Infinity": "invalid", "-inf": "invalid",
    "--1": "invalid", "+-1": "invalid", "1-": "invalid", "(1)": "invalid", "+": "invalid", "-": "invalid",
    "=1+1": "invalid", "١٢": "invalid", "５": "invalid", "½": "invalid", "²": "invalid", "null": "invalid",
    "N/A": "invalid", "true": "invalid", "7\u00a0": "invalid", "\u200b7": "invalid", "7\x00": "invalid",
    "\x00": "invalid", "\t7": "invalid", "7;8": "invalid", "": "missing", "   ": "missing", '""': "missing",
}  # fmt: skip
PRICES = {
    "0": "", "-0.00": "", "+9.9": "", ".5": "", "5.": "", "1.0000": "", "99999999999999.9999": "",
    "-0.0001": "not_negative", "-1": "not_negative", "100000000000000": "invalid", "0.00001": "invalid",
    "9.99999": "invalid", "1.00000": "invalid", ".": "invalid", "-.": "invalid", "1.2.3": "invalid",
    '"1,5"': "invalid", '"1,000.00"': "invalid", "$5": "invalid", "5€": "invalid", "5 EUR": "invalid",
    "5-": "invalid", "(5)": "invalid", "1e5": "invalid", "1E-2": "invalid", "1d": "invalid", "1f": "invalid",
    "1bd": "invalid", "0x1p3": "invalid", "NaN": "invalid", "-NaN": "invalid", "Infinity": "invalid",
    "∞": "invalid", "٫5": "invalid", "9" * 5000: "invalid", "#REF!": "invalid", "#DIV/0!": "invalid",
    "": "missing",
}  # fmt: skip
TIMES = {
    "2024-02-29T00:00:00Z": "", "2000-01-01T00:00:00Z": "", "2100-01-01T00:00:00Z": "",
    "2025-01-31T08:15:00.000001Z": "", "2025-01-31T08:15:00.1Z": "", "2025-01-31T08:15:00.1234567Z": "invalid",
    "2025-01-31T08:15:00.Z": "invalid", "2025-01-31T08:15:00+14:00": "", "2025-01-31T08:15:00-18:00": "",
    " 2025-01-31T08:15:00Z ": "", "1999-12-31T23:59:59.999999Z": "plausible",
    "2100-01-01T00:00:00.000001Z": "plausible", "9999-12-31T23:59:59Z": "plausible",
    "0001-01-01T00:00:00Z": "plausible", "0000-01-01T00:00:00Z": "plausible", "-0044-03-15T00:00:00Z": "plausible",
    "10000-01-01T00:00:00Z": "invalid", "+99999-01-01T00:00:00Z": "plausible", "99999999": "invalid",
    "2025-02-29T00:00:00Z": "invalid", "2025-04-31T00:00:00Z": "invalid", "2025-13-01T00:00:00Z": "invalid",
    "2025-00-10T00:00:00Z": "invalid", "2025-01-00T00:00:00Z": "invalid", "2025-01-32T00:00:00Z": "invalid",
    "2025-01-31T24:00:00Z": "invalid", "2025-01-31T08:60:00Z": "invalid", "2025-01-31T23:59:60Z": "invalid",
    "2025-01-31T08:15:00": "invalid", "2025-01-31T08:15Z": "invalid", "2025-01-31 08:15:00Z": "invalid",
    "2025-01-31t08:15:00z": "", "2025-1-31T08:15:00Z": "invalid", "25-01-31T08:15:00Z": "invalid",
    "2025-01-31T08:15:00+19:00": "invalid", "2025-01-31T08:15:00+1": "invalid",
    "2025-01-31T08:15:00 Europe/Madrid": "invalid", "2025-01-31T08:15:00Zjunk": "invalid",
    "31/01/2025 08:15": "invalid", "1738311300": "invalid", "45688.34": "invalid", "2025": "invalid",
    "12:30": "invalid", "today": "invalid", "epoch": "invalid", "2025-01-31": "invalid",
    "٢٠٢٥-01-31T08:15:00Z": "invalid", "2025-01-31T08:15:00Z\x00": "invalid", "": "missing",
}  # fmt: skip
TEXTS = {
    "spreadsheet formula": "=cmd|' /C calc'!A0",
    "spreadsheet formula, plus": "+HYPERLINK(A1)",
    "spreadsheet formula, at": "@SUM(1+1)*cmd|' /C calc'!A0",
    "spreadsheet formula, tab": "=1\t",
    "SQL": "'); drop table SALES_RAW; --",
    "template": "{{ prefect.blocks.secret.x }} ${HOME} %(x)s",
    "HTML": "<script>alert(1)</script>",
    "emoji": "Lamp 💡👩‍👩‍👧",
    "right to left": "\u202eDevil's lamp\u202c مصباح",
    "combining": "Cafe\u0301 Z̷̩͠a̴l̵g̸o̷",
    "zero width": "La\u200bmp\ufeff",
    "line separators of Unicode": "a\u2028b\u2029c\u0085d",
    "vertical tab and form feed": "a\x0bb\x0cc",
    "escape codes": "\x1b[31mred\x1b[0m",
    "NUL": "La\x00mp",
    "Ctrl-Z": "La\x1amp",
    "backslashes": "C:\\new\\table\\",
    "single quotes": "'Lamp'",
    "curly quotes": "“Lamp”",
    "noncharacter": "\uffff",
    "private use": "\ue000",
    "a megabyte": "x" * MEGABYTE,
    "NULL": "NULL",
}
QUOTED = {
    "comma": ('"Lamp, large"', "Lamp, large"),
    "quotes": ('"Lamp ""big"""', 'Lamp "big"'),
    "only a quote": ('""""', '"'),
    "many quotes": ('"' * 40_000, '"' * 19_999),
    "empty": ('""', None),
    "spaces inside": ('"  Lamp  "', "Lamp"),
    "backslash before the end": ('"Lamp\\"', "Lamp\\"),
    "JSON": ('"{""a"": [1, 2]}"', '{"a": [1, 2]}'),
}
MALFORMED = {
    "quote never closed": line(product_name='"Lamp'),
    "quote never opened": line(product_name='Lamp"'),
    "quote in the middle": line(product_name='La"mp'),
    "text after the quote": line(product_name='"Lamp"s'),
    "space before the quote": line(product_name=' "Lamp"'),
    "space after the quote": line(product_name='"Lamp" '),
    "three quotes": line(product_name='"""'),
    "quote escaped by a backslash": line(product_name='"La\\"mp"'),
    "odd number of quotes": line(product_name='"' * 40_001),
    "last quote never closed": GOOD[:-20] + '"2025-01-31',
    "a line of one quote": '"',
    "a field too many": GOOD + ",",
    "two fields too many": GOOD + ",a,b",
    "a field too few": GOOD.rpartition(",")[0],
    "one field": "A1",
    "two fields": "A1,1",
    "commas only": "," * 12 + ",",
    "a comma too few": "," * 11,
    "ten thousand commas": "," * 10_000,
    "another delimiter": GOOD.replace(",", ";"),
    "tabs": GOOD.replace(",", "\t"),
    "everything in one quoted field": f'"{GOOD}"',
    "comment": "# exported by hand",
    "total": "Total: 12 rows",
    "spaces": "   ",
    "a tab": "\t",
    "NUL bytes": "\x00" * 100,
    "Ctrl-Z at the end": "\x1a",
    "byte order mark alone": "\ufeff",
    "a page of the web": "<!DOCTYPE html>",
    "JSON": '{"order_id": "A1"}',
    "two lines glued together": GOOD + GOOD,
    "a line cut in half": GOOD[: len(GOOD) // 2],
    "ten megabytes": "x" * (10 * MEGABYTE),
    "ten megabytes of quotes": '"' * (10 * MEGABYTE + 1),
}
NOT_UTF8 = {
    "Latin-1": b"Caf\xe9",
    "Latin-1 between UTF-8": "Café ".encode() + b"Caf\xe9",
    "a lone continuation": b"\x80",
    "a character cut off": "€".encode()[:2],
    "overlong slash": b"\xc0\xaf",
    "overlong NUL": b"\xc0\x80",
    "a surrogate": b"\xed\xa0\x80",
    "a pair of surrogates": b"\xed\xa0\xbd\xed\xb2\xa1",
    "beyond Unicode": b"\xf4\x90\x80\x80",
    "five bytes": b"\xf8\x88\x80\x80\x80",
    "UTF-16 mark": b"\xff\xfe",
    "Shift-JIS": "ランプ".encode("shift-jis"),
    "noise": bytes(byte for byte in range(128, 256)),
}
REPEATED_HEADER = {
    HEADER: (
        "line_number_invalid,quantity_invalid,unit_price_invalid,ordered_at_invalid,updated_at_invalid,"
        "currency_known"
    ),
}
COMMAS = (
    "order_id_missing,line_number_missing,product_id_missing,quantity_missing,unit_price_missing,"
    "currency_missing,ordered_at_missing,updated_at_missing"
)


def nasty_lines() -> list[tuple[str, bytes, str]]:
    """Give every case as its name, the line's bytes and the rules it breaks ("" for a valid line)."""
    cases: list[tuple[str, str | bytes, str]] = []
    said = {"": "", "not_zero": "quantity_not_zero", "not_negative": "unit_price_not_negative"}
    for column, texts in (("quantity", NUMBERS), ("unit_price", PRICES), ("ordered_at", TIMES)):
        for text, fate in texts.items():
            rule = said.get(fate, f"{column}_{fate}")
            cases.append((f"{column} {text[:40]!r}", line(**{column: text}), rule))
    cases += [(f"text: {name}", line(product_name=text), "") for name, text in TEXTS.items()]
    cases += [(f"quoted: {name}", line(product_name=text), "") for name, (text, _) in QUOTED.items()]
    cases += [(f"malformed: {name}", text, "malformed_row") for name, text in MALFORMED.items()]
    cases += [("header again", text, rules) for text, rules in REPEATED_HEADER.items()]
    cases += [("nothing but commas", "," * 12, COMMAS)]
    for name, noise in NOT_UTF8.items():
        cases.append(
            (f"not UTF-8: {name}", line(product_name="@").encode().replace(b"@", noise), "encoding_invalid")
        )
    return [(name, text.encode() if isinstance(text, str) else text, rules) for name, text, rules in cases]
