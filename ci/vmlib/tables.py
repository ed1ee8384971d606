# SPDX-License-Identifier: GPL-2.0
"""Tables in documents, of which a command writes a row or some of its cells anew."""


def between(path, mark):
    """(what is before, between and behind) the two lines of a document that are `mark`."""
    with open(path, encoding="utf-8") as handle:
        before, inner, behind = handle.read().split(f"<!-- {mark} -->\n")
    return before, inner, behind


def write(path, mark, inner):
    """Puts `inner`, whole lines, between the two lines of a document that are `mark`."""
    before, _, behind = between(path, mark)
    line = f"<!-- {mark} -->\n"
    with open(path, "w", encoding="utf-8") as handle:
        handle.write(before + line + inner + line + behind)


def lines(head, rows):
    """A table of a head and rows, each a list of cells, as the lines of a document."""
    texts = [f"| {' | '.join(cells)} |\n" for cells in (head, *rows)]
    return "".join([texts[0], "|---" * len(head) + "|\n", *texts[1:]])


def update(path, mark, columns, found, arrange, unknown="–"):
    """Writes the cells that were `found`, {name of a row: {column: cell}}, into a table whose first
    column has names in back quotes. Other rows and cells stay as they are, but for columns that are
    no more; arrange() gets the names, and returns those that stay in their order."""
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")]
                      for line in between(path, mark)[1].splitlines())
    cells = {name.strip("`"): dict(zip(head[1:], row)) for name, *row in rows}
    for name, more in found.items():
        cells.setdefault(name, {}).update(more)
    write(path, mark, lines([head[0], *columns], [
        [f"`{name}`", *(cells[name].get(column, unknown) for column in columns)]
        for name in arrange(cells)]))
