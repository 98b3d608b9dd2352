"""A real client (PyPI `mcp`): calls what the table lists of one server, answers what the server asks, prints all of it as JSON.

It decides nothing about what is right: the scenario compares what two runs print.

usage: client.py --server NAME [--mode auto|legacy] [--set NAME=VALUE]... (--url URL | -- COMMAND ARGUMENT...)
"""

import argparse
import json
import os
import sys
import warnings
from pathlib import Path

import anyio
from mcp import Client, MCPError, StdioServerParameters
from mcp import types

# A server may announce tools after it has seen what its client can do: so long the list may take to be complete.
LIST_WITHIN_S = 10
CALL_WITHIN_S = 60
SETTLED_AFTER_S = 1

warnings.simplefilter("ignore")


def filled(value, names):
    if isinstance(value, str):
        for name, text in names.items():
            value = value.replace("{" + name + "}", text)
        return value
    if isinstance(value, list):
        return [filled(item, names) for item in value]
    if isinstance(value, dict):
        return {key: filled(item, names) for key, item in value.items()}
    return value


def plain(model):
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


class Answers:
    """What a person would answer. Every question is kept, for it must arrive unchanged."""

    def __init__(self):
        self.asked = []

    async def sampling(self, _context, params):
        self.asked.append({"sampling/createMessage": plain(params)})
        text = types.TextContent(type="text", text="a sampled answer")
        return types.CreateMessageResult(role="assistant", content=text, model="test-model", stop_reason="endTurn")

    async def elicitation(self, _context, params):
        self.asked.append({"elicitation/create": plain(params)})
        return types.ElicitResult(action="decline")

    async def roots(self, _context):
        self.asked.append({"roots/list": {}})
        return types.ListRootsResult(roots=[types.Root(uri="file:///tmp", name="temporary files")])

    def taken(self):
        taken, self.asked = self.asked, []
        return taken


async def complete_list(client, wanted):
    with anyio.move_on_after(LIST_WITHIN_S):
        while True:
            tools, cursor = [], None
            while True:
                page = await client.list_tools(cursor=cursor)
                tools += [plain(tool) for tool in page.tools]
                cursor = page.next_cursor
                if not cursor:
                    break
            if {tool["name"] for tool in tools} >= wanted:
                break
            await anyio.sleep(0.1)
    return sorted(tools, key=lambda tool: tool["name"])


async def call(client, answers, entry):
    shares = []

    async def progress(done, total, message):
        shares.append([done, total, message])

    printed = {"tool": entry["tool"], "args": entry.get("args", {})}
    try:
        result = await client.call_tool(
            entry["tool"], entry.get("args", {}), progress_callback=progress, read_timeout_seconds=CALL_WITHIN_S
        )
        printed["result"] = plain(result)
    except MCPError as error:
        printed["error"] = {"code": error.error.code, "message": error.error.message}
    # Progress may overtake nothing and be overtaken by nothing, but its callbacks run beside us.
    await anyio.sleep(0.05)
    printed["asked"] = answers.taken()
    printed["progress"] = sorted(shares, key=lambda share: share[0])
    return printed


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", required=True)
    parser.add_argument("--mode", default="auto")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--url")
    parser.add_argument("command", nargs="*")
    arguments = parser.parse_args()
    names = dict(pair.split("=", 1) for pair in arguments.set)
    table = json.loads(Path(__file__).with_name("calls.json").read_text())[arguments.server]
    calls = [filled(entry, names) for entry in table["calls"]]

    answers = Answers()
    target = arguments.url or StdioServerParameters(
        command=arguments.command[0], args=arguments.command[1:], env=dict(os.environ)
    )
    client = Client(
        target,
        mode=arguments.mode,
        sampling_callback=answers.sampling,
        elicitation_callback=answers.elicitation,
        list_roots_callback=answers.roots,
        read_timeout_seconds=CALL_WITHIN_S,
        cache=None,
    )
    async with client:
        tools = await complete_list(client, {entry["tool"] for entry in calls})
        # Some servers ask for roots right after the handshake; through a router that happened before this client came.
        await anyio.sleep(SETTLED_AFTER_S)
        answers.taken()
        printed = {
            "protocol": client.protocol_version,
            "serverInfo": plain(client.server_info) if client.server_info else None,
            "tools": tools,
            "calls": [await call(client, answers, entry) for entry in calls],
        }
    json.dump(printed, sys.stdout, sort_keys=True, indent=1)
    print()


anyio.run(main)
