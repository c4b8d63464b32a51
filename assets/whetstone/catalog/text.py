"""The text of a product, as a SQL expression that is compiled from a template.

    {title} | {category_1} > {category_2}          placeholders, with the separators written between them
    {title} {attributes.color} - {description:200}  an attribute; a value cut to its first 200 characters

Placeholders: `title`, `brand`, `description`, `category_1` .. `category_9` (levels of the path), `category_leaf`, `attributes.<name>`.
A value that is missing or blank vanishes together with the separator *before* it, and the first value that is there has none.
White space is collapsed. Default `{title} | {category_1} > {category_2}`: [B] section 3, name and two levels of the path.
"""

import re
import string

from whetstone.platform.errors import WhetstoneError

DEFAULT_TEMPLATE = "{title} | {category_1} > {category_2}"

# RE2's own \s is ASCII's alone. Control characters, space, and Unicode's spaces.
_SPACE = "\\x00-\\x20\x7f\x85\xa0\u1680\u2000-\u200b\u2028\u2029\u202f\u205f\u3000\ufeff"


def text_sql(template: str = DEFAULT_TEMPLATE) -> str:
    """A DuckDB SQL expression over the products contract; WhetstoneError: an unknown placeholder, a bad cut or brace, no `{title}`."""
    try:
        pieces = list(string.Formatter().parse(template))
    except ValueError as error:
        raise WhetstoneError(f"text template {template!r}: {error}; write a brace of the text twice") from None
    printed, values, literal = list[str](), list[str](), ""
    for before, field, cut, conversion in pieces:
        literal += before
        if field is None:  # the text after the last placeholder, or before a brace that is written twice
            continue
        value = _value_sql(template, field + (f"!{conversion}" if conversion else ""), cut)
        separator = f"if(coalesce({', '.join(values)}) is null, '', {_quote(literal)})" if values else _quote(literal)
        printed.append(f"coalesce({separator} || {value}, '')")
        values.append(value)
        literal = ""
    if not any(field == "title" for _, field, _, _ in pieces):
        raise WhetstoneError(f"text template {template!r} needs {{title}}: a product whose other values are missing would have no text")
    return collapse_sql(" || ".join([*printed, f"if({values[-1]} is null, '', {_quote(literal)})"]))


def collapse_sql(expression: str) -> str:
    """SQL: an expression with its white space collapsed and trimmed."""
    return f"trim(regexp_replace({expression}, {_quote(f'[{_SPACE}]+')}, ' ', 'g'))"


def blank_sql(expression: str) -> str:
    """SQL: whether nothing but white space is in an expression (NULL stays NULL)."""
    return f"(not regexp_matches({expression}, {_quote(f'[^{_SPACE}]')}))"


def _value_sql(template: str, field: str, cut: str | None) -> str:
    """A placeholder's value, NULL if it is missing or blank."""
    if not re.fullmatch(r"title|brand|description|category_[1-9]|category_leaf|attributes\..+", field, re.DOTALL):
        known = "title, brand, description, category_1 to category_9, category_leaf and attributes.<name>"
        raise WhetstoneError(f"text template {template!r}: unknown placeholder {{{field}}}; there are {known}")
    if cut and not re.fullmatch(r"[1-9][0-9]{0,5}", cut):
        raise WhetstoneError(f"text template {template!r}: {{{field}:{cut}}} must be cut to a number of characters, as {{{field}:200}}")
    value = field
    if field.startswith("attributes."):
        value = f"attributes[{_quote(field.removeprefix('attributes.'))}]"
    elif field.startswith("category_"):
        value = f"category_path[{field.removeprefix('category_').replace('leaf', '-1')}]"
    value = collapse_sql(value)
    return f"nullif({f'trim(left({value}, {cut}))' if cut else value}, '')"


def _quote(literal: str) -> str:
    return "'" + literal.replace("'", "''") + "'"
