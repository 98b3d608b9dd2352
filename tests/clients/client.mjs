// A real client (npm @modelcontextprotocol/sdk): calls what the table lists of one server, answers what the server asks, prints all
// of it as JSON. It decides nothing about what is right: the scenario compares what two runs print.
//
// usage: client.mjs --sdk DIR --server NAME [--set NAME=VALUE]... (--url URL | -- COMMAND ARGUMENT...)
// DIR holds node_modules, since this file lives elsewhere.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

// A server may announce tools after it has seen what its client can do: so long the list may take to be complete.
const LIST_WITHIN_MS = 10_000;
const CALL_WITHIN_MS = 60_000;
const SETTLED_AFTER_MS = 1_000;

const options = { set: {} };
const args = process.argv.slice(2);
while (args.length && args[0] !== "--") {
  const [name, value] = [args.shift().slice(2), args.shift()];
  if (name === "set") {
    const at = value.indexOf("=");
    options.set[value.slice(0, at)] = value.slice(at + 1);
  } else {
    options[name] = value;
  }
}
args.shift();

const require = createRequire(`${options.sdk}/package.json`);
const load = (path) => import(pathToFileURL(require.resolve(`@modelcontextprotocol/sdk/${path}`)));
const { Client } = await load("client/index.js");
const { StdioClientTransport } = await load("client/stdio.js");
const { StreamableHTTPClientTransport } = await load("client/streamableHttp.js");
const types = await load("types.js");

const filled = (value) => {
  if (typeof value === "string") {
    return Object.entries(options.set).reduce((text, [name, by]) => text.replaceAll(`{${name}}`, by), value);
  }
  if (Array.isArray(value)) return value.map(filled);
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, filled(item)]));
  }
  return value;
};
const sorted = (value) => {
  if (Array.isArray(value)) return value.map(sorted);
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.keys(value).sort().map((key) => [key, sorted(value[key])]));
  }
  return value;
};

const table = JSON.parse(readFileSync(new URL("calls.json", import.meta.url), "utf8"))[options.server];
const calls = table.calls.map(filled);
const wanted = new Set(calls.map((entry) => entry.tool));

let asked = [];
const client = new Client(
  { name: "scenario", version: "1.0.0" },
  { capabilities: { sampling: {}, elicitation: { form: {}, url: {} }, roots: { listChanged: true } } },
);
client.setRequestHandler(types.CreateMessageRequestSchema, ({ params }) => {
  asked.push({ "sampling/createMessage": params });
  const content = { type: "text", text: "a sampled answer" };
  return { role: "assistant", content, model: "test-model", stopReason: "endTurn" };
});
client.setRequestHandler(types.ElicitRequestSchema, ({ params }) => {
  asked.push({ "elicitation/create": params });
  return { action: "decline" };
});
client.setRequestHandler(types.ListRootsRequestSchema, () => {
  asked.push({ "roots/list": {} });
  return { roots: [{ uri: "file:///tmp", name: "temporary files" }] };
});

// The client's own bookkeeping forgets a request with its answer, and so loses progress that comes in one piece with it.
let token = 0;
let progress = [];
client.setNotificationHandler(types.ProgressNotificationSchema, ({ params }) => {
  const { progress: done, total, message, progressToken } = params;
  progress.push([done, total ?? null, message ?? null, progressToken === token ? "mine" : "stray"]);
});

const transport = options.url
  ? new StreamableHTTPClientTransport(new URL(options.url))
  : new StdioClientTransport({ command: args[0], args: args.slice(1), env: process.env, stderr: "ignore" });
// The client tells its transport which version was agreed on; only some transports care.
let protocol = null;
const setVersion = transport.setProtocolVersion?.bind(transport);
transport.setProtocolVersion = (version) => {
  protocol = version;
  setVersion?.(version);
};
await client.connect(transport);

const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const completeList = async () => {
  for (const deadline = Date.now() + LIST_WITHIN_MS; ; await pause(100)) {
    const tools = [];
    let cursor;
    do {
      const page = await client.listTools(cursor ? { cursor } : undefined);
      tools.push(...page.tools);
      cursor = page.nextCursor;
    } while (cursor);
    const names = new Set(tools.map((tool) => tool.name));
    if ([...wanted].every((name) => names.has(name)) || Date.now() > deadline) {
      return tools.sort((a, b) => (a.name < b.name ? -1 : 1));
    }
  }
};

const call = async ({ tool, args = {} }) => {
  const printed = { tool, args };
  const _meta = { progressToken: (token += 1) };
  try {
    printed.result = await client.request(
      { method: "tools/call", params: { name: tool, arguments: args, _meta } },
      types.CallToolResultSchema,
      { timeout: CALL_WITHIN_MS },
    );
  } catch (error) {
    if (!(error instanceof types.McpError)) throw error;
    printed.error = { code: error.code, message: error.message };
  }
  await pause(50);
  printed.asked = asked;
  asked = [];
  printed.progress = progress;
  progress = [];
  return printed;
};

const tools = await completeList();
// Some servers ask for roots right after the handshake; through a router that happened before this client came.
await pause(SETTLED_AFTER_MS);
asked = [];
const printed = { protocol, serverInfo: client.getServerVersion(), tools, calls: [] };
for (const entry of calls) printed.calls.push(await call(entry));
if (options.url) await transport.terminateSession();
await client.close();
process.stdout.write(`${JSON.stringify(sorted(printed), null, 1)}\n`);
