"""Judges messages for Slack, one JSON a line on standard input: each block is read by the package slackblocks, which knows the limits of
Block Kit, and has to be the same when it writes it again. Prints what is wrong, and fails then."""

import json
import sys

from slackblocks import ContextBlock, HeaderBlock, SectionBlock

BLOCKS = {"header": HeaderBlock, "section": SectionBlock, "context": ContextBlock}
# Slack's own, which no package knows: blocks of a message, characters of all its blocks (msg_blocks_too_long), and of its text.
BLOCKS_MAX, CHARS_MAX, TEXT_MAX = 50, 12_000, 40_000


def texts(block):
    if "text" in block:
        yield block["text"]["text"]
    for element in block.get("elements", []):
        yield element["text"]


def faults(message):
    if not 0 < len(message.get("text", "")) <= TEXT_MAX:
        yield "no text, or too long a one"
    blocks = message["blocks"]
    if len(blocks) > BLOCKS_MAX:
        yield f"{len(blocks)} blocks"
    chars = sum(len(text) for block in blocks for text in texts(block))
    if chars > CHARS_MAX:
        yield f"{chars} characters in all blocks"
    for block in blocks:
        try:
            read = json.loads(repr(BLOCKS[block["type"]].from_dict(block)))
        except Exception as error:  # Whatever it is, Slack would not take it.
            yield f"{block['type']}: {error!r}"
            continue
        read.pop("block_id", None)
        if read != block:
            yield f"{block} was read as {read}"


found = [fault for line in sys.stdin for fault in faults(json.loads(line))]
print("\n".join(found))
sys.exit(bool(found))
