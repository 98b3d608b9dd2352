//! An MCP server on stdin and stdout whose one tool gives back its argument, as fast as a process on pipes can be. What benchmarks and
//! load are measured against: it must never be the slow part, so it looks only at what it needs.
//!
//! With a number as its argument it lists so many tools, `echo`, `echo-1`, `echo-2` …, which all do the same.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};

use serde::Deserialize;
use serde_json::{json, value::RawValue};

/// Longest message. Far above what any scenario sends.
const LINE_BYTES_MAX: u64 = 64 * 1024 * 1024;

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    method: Option<&'a str>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Call<'a> {
    #[serde(borrow)]
    arguments: Option<Arguments<'a>>,
}

#[derive(Deserialize)]
struct Arguments<'a> {
    #[serde(borrow)]
    text: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Initialize {
    protocol_version: String,
}

fn main() -> io::Result<()> {
    let tools = std::env::args().nth(1);
    let tools = tools.and_then(|count| count.parse().ok()).unwrap_or(1);
    let mut input = BufReader::with_capacity(256 * 1024, io::stdin().lock());
    let mut output = io::stdout().lock();
    let mut line = Vec::new();
    let mut answers = Vec::new();
    loop {
        line.clear();
        if input
            .by_ref()
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', &mut line)?
            == 0
        {
            return Ok(());
        }
        answer(&line, tools, &mut answers);
        // Whatever is waiting is answered in one write.
        if !input.buffer().contains(&b'\n') {
            output.write_all(&answers)?;
            output.flush()?;
            answers.clear();
        }
    }
}

fn answer(line: &[u8], tools: usize, answers: &mut Vec<u8>) {
    let Ok(message) = serde_json::from_slice::<Message<'_>>(line) else {
        return;
    };
    let (Some(id), Some(method)) = (message.id, message.method) else {
        return;
    };
    answers.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    answers.extend_from_slice(id.get().as_bytes());
    let params = message.params.map_or("{}", RawValue::get);
    if method == "tools/call" {
        let call: Option<Call<'_>> = serde_json::from_str(params).ok();
        let text = call.and_then(|call| call.arguments?.text);
        answers.extend_from_slice(b",\"result\":{\"content\":[{\"type\":\"text\",\"text\":");
        answers.extend_from_slice(text.map_or("\"\"", RawValue::get).as_bytes());
        answers.extend_from_slice(b"}]}}\n");
        return;
    }
    let (member, value) = other(method, params, tools);
    answers.extend_from_slice(format!(",\"{member}\":{value}}}\n").as_bytes());
}

fn other(method: &str, params: &str, tools: usize) -> (&'static str, serde_json::Value) {
    match method {
        "initialize" => {
            let asked: Option<Initialize> = serde_json::from_str(params).ok();
            let version =
                asked.map_or_else(|| "2025-11-25".to_owned(), |asked| asked.protocol_version);
            let info = json!({"name": "echo-server", "version": "1.0.0"});
            (
                "result",
                json!({"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info}),
            )
        }
        "ping" => ("result", json!({})),
        "tools/list" => {
            let schema = json!({"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]});
            let names = (0..tools).map(|number| match number {
                0 => "echo".to_owned(),
                number => format!("echo-{number}"),
            });
            let tools: Vec<_> = names
                .map(|name| json!({"name": name, "description": "Gives back its text.", "inputSchema": schema}))
                .collect();
            ("result", json!({"tools": tools}))
        }
        _ => (
            "error",
            json!({"code": -32601, "message": "Method not found"}),
        ),
    }
}
