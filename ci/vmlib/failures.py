# SPDX-License-Identifier: GPL-2.0
"""What of a test's output tells why it failed."""

import re

# What went well, or was left out, and lines without words.
_GOOD = re.compile(r"[\s|]*(ok\b|\[ RUN|\[ +OK|\[ +SKIPPED|\[-{10}\]|\[={10}\]|\S+: Skipped$|"
                   r"\d+/\d+ Test +#\d+: .* Passed|Start +\d+: |$)")
_BAD = re.compile(r": Failure$|\bFAILED\b|\b[Ee]rror:|\bexit status [^0]|\bBUG:|\bWARNING:|"
                  r"\b(?:hung|timed out|wrong|lost|leaked)\b")


def lines_in(output):
    """All lines but those about what went well, which are in the log."""
    return [line for line in output.splitlines() if not _GOOD.match(line)]


def gist(output, most=8):
    """At most so many lines, for the end of a long run, of which often only the end is kept: what
    was not met, in the words of the test that says so, or else the end of the output."""
    lines = [re.sub(r"^[\s|]+", "", line) for line in lines_in(output)]
    bad = [number for number, line in enumerate(lines) if _BAD.search(line)]
    # A failure of GoogleTest tells what it expected on the lines below.
    wanted = {number + more for number in bad
              for more in range(4 if lines[number].endswith(": Failure") else 1)}
    chosen = [line for number, line in enumerate(lines) if number in wanted]
    # Names come again in summaries.
    return list(dict.fromkeys(chosen))[:most] or lines[-most:]
