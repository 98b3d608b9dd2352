//! A real MCP client connected to a server in the same process, and projects to serve.

use std::path::{Path, PathBuf};

use rmcp::model::{CallToolRequestParams, CallToolResult, ClientConfig};
use rmcp::service::RunningService;
use rmcp::{RoleClient, ServiceExt as _};
use router_godot::{GodotServer, InstanceOptions, ProjectLimits, ServeError, serve};
use serde_json::Value;
use tokio::task::JoinHandle;

/// Bytes that may stand in the pipe: small, so that answers are really written in pieces.
const PIPE_BYTES: usize = 16 * 1024;

/// A connected client and the task that serves it.
pub(crate) struct Client {
    pub(crate) service: RunningService<RoleClient, ClientConfig>,
    serving: JoinHandle<Result<(), ServeError>>,
}

impl Client {
    /// A client of the project in `folder`.
    pub(crate) async fn of(folder: &Path) -> Self {
        Self::with(folder, InstanceOptions::default()).await
    }

    /// A client of the project in `folder`, served within `limits`.
    pub(crate) async fn within(folder: &Path, limits: ProjectLimits) -> Self {
        let options = InstanceOptions {
            limits,
            ..InstanceOptions::default()
        };
        Self::with(folder, options).await
    }

    /// A client of the project in `folder`, served with `options`.
    pub(crate) async fn with(folder: &Path, options: InstanceOptions) -> Self {
        let server = GodotServer::open(folder, options).unwrap();
        let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
        let (reader, writer) = tokio::io::split(theirs);
        let serving = tokio::spawn(serve(server, reader, writer));
        let service = ClientConfig::default().serve(ours).await.unwrap();
        Self { service, serving }
    }

    /// Calls a tool and returns its whole result.
    pub(crate) async fn call(&self, tool: &str, arguments: Value) -> CallToolResult {
        let arguments = arguments.as_object().cloned().unwrap_or_default();
        let request = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
        self.service.call_tool(request).await.unwrap()
    }

    /// Calls a tool that must succeed, checks that text and structure say the same, and returns the structure.
    pub(crate) async fn ask(&self, tool: &str, arguments: Value) -> Value {
        let result = self.call(tool, arguments.clone()).await;
        let text = text(&result);
        assert_ne!(result.is_error, Some(true), "{tool} {arguments}: {text}");
        let structured = result.structured_content.unwrap();
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), structured);
        structured
    }

    /// Calls a tool that must refuse, and returns what it says.
    pub(crate) async fn refusal(&self, tool: &str, arguments: Value) -> String {
        let result = self.call(tool, arguments.clone()).await;
        let text = text(&result);
        assert_eq!(result.is_error, Some(true), "{tool} {arguments}: {text}");
        assert!(result.structured_content.is_none());
        text
    }

    /// Hangs up and waits until the server has ended well.
    pub(crate) async fn finish(self) {
        self.service.cancel().await.unwrap();
        self.serving.await.unwrap().unwrap();
    }
}

fn text(result: &CallToolResult) -> String {
    assert_eq!(result.content.len(), 1);
    result.content[0].as_text().unwrap().text.clone()
}

/// The folder of a fixture.
pub(crate) fn fixture(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/godot");
    root.join(name)
}

/// A project of its own for one test.
pub(crate) struct Project {
    folder: tempfile::TempDir,
}

impl Project {
    /// A project with these files, below a folder that belongs to the test as well.
    pub(crate) fn with(files: &[(&str, &str)]) -> Self {
        let project = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        project.write(
            "project.godot",
            "config_version=5\n\n[application]\n\nconfig/name=\"Test\"\n",
        );
        for (path, text) in files {
            project.write(path, text);
        }
        project
    }

    /// The project's root.
    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("game")
    }

    /// The folder around the project, which nothing may show.
    pub(crate) fn outside(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file.
    pub(crate) fn write(&self, path: &str, contents: impl AsRef<[u8]>) {
        let path = self.root().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, contents).unwrap();
    }

    /// Removes a file.
    pub(crate) fn remove(&self, path: &str) {
        std::fs::remove_file(self.root().join(path)).unwrap();
    }
}
