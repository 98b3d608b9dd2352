//! The MCP face: tools, resources, the handshake, and the end at the client's end of file.
//!
//! Questions are answered on blocking threads, so that `ping` and the handshake never wait for the
//! file system; how many at a time, and how many may wait, is bounded here.

mod handler;
mod resources;
mod schema;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use rmcp::handler::server::router::tool::ToolRouter;
use rmcp::handler::server::wrapper::{Json, Parameters};
use rmcp::model::{CallToolRequestParams, Tool};
use rmcp::schemars::JsonSchema;
use rmcp::service::{QuitReason, ServerInitializeError};
use rmcp::transport::async_rw::AsyncRwTransport;
use rmcp::{ServiceExt as _, tool, tool_router};
use serde::Serialize;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;

use crate::answer::{
    AnswerBudget, DependenciesAnswer, DependenciesQuery, GraphAnswer, GraphQuery, ProjectAnswer,
    ProjectQuery, QueryRefusal, ScriptAnswer, ScriptQuery, SearchAnswer, SearchQuery,
};
use crate::index::{ProjectIndex, ProjectSnapshot};
use crate::limits::ProjectLimits;
use crate::root::ProjectOpenError;

/// The longest request line, in bytes. The longest sensible request names one path of 4,096 bytes;
/// the rest is room for a client's `_meta`.
const REQUEST_BYTES_MAX: usize = 1024 * 1024;

/// Questions answered at the same time: parsing is bound by the processor, and instances are small.
const WORKING_MAX: usize = 4;

/// Questions that may be waiting for one of those; more than that is a client in a loop.
const WAITING_MAX: usize = 256;

/// How an instance is set up, besides its folder.
#[derive(Debug, Clone, Default)]
pub struct InstanceOptions {
    /// The id of the project version that is served (`VERSION_ID`), shown by `ping` and `get_project`.
    /// A tool call that names another `versionId` is refused.
    pub version_id: Option<String>,
    /// Bounds on what is read and answered.
    pub limits: ProjectLimits,
}

/// Why serving ended badly.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The folder cannot be served.
    #[error(transparent)]
    Open(#[from] ProjectOpenError),
    /// The client did not begin with the MCP handshake, or the answer to it could not be sent.
    #[error("the MCP handshake failed")]
    Handshake(#[source] Box<ServerInitializeError>),
    /// The task that serves the client panicked.
    #[error("serving the client broke off")]
    Broken(#[from] tokio::task::JoinError),
}

/// The MCP server of one project folder. Cloning shares the index.
#[derive(Debug, Clone)]
pub struct GodotServer {
    shared: Arc<ServerState>,
}

#[derive(Debug)]
struct ServerState {
    index: ProjectIndex,
    version_id: Option<String>,
    started: Instant,
    router: ToolRouter<GodotServer>,
    /// The tools as they are listed.
    tools: Vec<Tool>,
    working: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

/// Serves the project in `project_dir` over the process's stdin and stdout until stdin ends.
///
/// Reads `VERSION_ID` from the environment. Stdout carries JSON-RPC lines only; the caller must have pointed
/// `tracing` at stderr. Needs a tokio runtime with I/O enabled.
///
/// # Errors
/// [`ServeError::Open`] if the folder is not a project; the others if the client misbehaves. The end of stdin is no error.
pub async fn serve_stdio(project_dir: impl AsRef<Path>) -> Result<(), ServeError> {
    let options = InstanceOptions {
        version_id: std::env::var("VERSION_ID").ok().filter(|id| !id.is_empty()),
        limits: ProjectLimits::default(),
    };
    let server = GodotServer::open(project_dir.as_ref(), options)?;
    let (reader, writer) = rmcp::transport::io::stdio_pipes();
    serve(server, reader, writer).await
}

/// Serves one client over any byte stream until `reader` ends.
///
/// # Errors
/// [`ServeError::Handshake`] if the client does not begin with `initialize`, [`ServeError::Broken`] on a panic.
pub async fn serve<R, W>(server: GodotServer, reader: R, writer: W) -> Result<(), ServeError>
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    let transport =
        AsyncRwTransport::new_server(reader, writer).with_max_line_length(REQUEST_BYTES_MAX);
    let running = match server.serve(transport).await {
        Ok(running) => running,
        Err(ServerInitializeError::ConnectionClosed(_)) => return Ok(()),
        Err(error) => return Err(ServeError::Handshake(Box::new(error))),
    };
    match running.waiting().await? {
        QuitReason::JoinError(error) => Err(error.into()),
        _ => Ok(()),
    }
}

/// The answer of `ping`.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(crate = "rmcp::schemars")]
struct PingAnswer {
    /// Always "ok".
    status: &'static str,
    /// The version of this server.
    version: &'static str,
    /// The project version that this instance serves (VERSION_ID).
    #[serde(skip_serializing_if = "Option::is_none")]
    version_id: Option<String>,
    /// The process's id, which changes when the instance is restarted.
    pid: u32,
    /// For how many seconds this instance has been running.
    uptime_seconds: u64,
}

#[tool_router]
impl GodotServer {
    /// Opens the project in `project_dir`. Nothing but the existence of its `project.godot` is checked yet.
    ///
    /// # Errors
    /// [`ProjectOpenError`] says why the folder cannot be served.
    pub fn open(project_dir: &Path, options: InstanceOptions) -> Result<Self, ProjectOpenError> {
        let router = Self::tool_router();
        let shared = ServerState {
            index: ProjectIndex::open(project_dir, options.limits)?,
            version_id: options.version_id,
            started: Instant::now(),
            tools: schema::listed(router.list_all()),
            router,
            working: Arc::new(Semaphore::new(WORKING_MAX)),
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    #[tool(
        name = "ping",
        title = "Ping",
        description = "Says that this instance answers, which project version it serves and for how long it has been running. Reads no files.",
        annotations(
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = false
        )
    )]
    async fn ping_tool(&self) -> Json<PingAnswer> {
        Json(PingAnswer {
            status: "ok",
            version: env!("CARGO_PKG_VERSION"),
            version_id: self.shared.version_id.clone(),
            pid: std::process::id(),
            uptime_seconds: self.shared.started.elapsed().as_secs(),
        })
    }

    #[tool(
        name = "get_project",
        title = "Project overview",
        description = "Describes the Godot project: name, engine version, main scene, autoloads, input actions, declared classes, plugins, how many files of each kind there are, and what is wrong with them. A good first call.",
        annotations(
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = false
        )
    )]
    async fn get_project(
        &self,
        Parameters(query): Parameters<ProjectQuery>,
    ) -> Result<Json<ProjectAnswer>, QueryRefusal> {
        self.answer(move |shared, snapshot, budget| {
            query.answer(snapshot, shared.version_id.as_deref(), budget)
        })
        .await
    }

    #[tool(
        name = "search_nodes",
        title = "Search nodes and files",
        description = "Finds nodes of scenes and files of the project (scenes, scripts, shaders, resources, assets) by words, type, group or folder. Returns ids that the other tools take, with types and scripts resolved through instances and inherited scenes.",
        annotations(
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = false
        )
    )]
    async fn search_nodes(
        &self,
        Parameters(query): Parameters<SearchQuery>,
    ) -> Result<Json<SearchAnswer>, QueryRefusal> {
        self.answer(move |_, snapshot, budget| query.answer(snapshot, budget))
            .await
    }

    #[tool(
        name = "get_node_dependencies",
        title = "Dependencies of one node or file",
        description = "Shows what one file or scene node needs and what needs it, over one or more steps, with the line of each reference; also its signal connections, the cycle it is part of, and references that lead nowhere. Use it before renaming, moving or deleting something.",
        annotations(
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = false
        )
    )]
    async fn get_node_dependencies(
        &self,
        Parameters(query): Parameters<DependenciesQuery>,
    ) -> Result<Json<DependenciesAnswer>, QueryRefusal> {
        self.answer(move |_, snapshot, budget| query.answer(snapshot, budget))
            .await
    }

    #[tool(
        name = "get_dependency_graph",
        title = "Dependency graph",
        description = "Returns the files of the project, or those reachable from one of them, and how they refer to each other, with cycles, isolated files and references that lead nowhere. Large graphs come in pages.",
        annotations(
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = false
        )
    )]
    async fn get_dependency_graph(
        &self,
        Parameters(query): Parameters<GraphQuery>,
    ) -> Result<Json<GraphAnswer>, QueryRefusal> {
        self.answer(move |_, snapshot, budget| query.answer(snapshot, budget))
            .await
    }

    #[tool(
        name = "get_script_content",
        title = "Script source",
        description = "Returns the source of a script or shader, also of one written inside a scene, with its class, functions, signals and exported variables. Long sources come in pieces of whole lines.",
        annotations(
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = false
        )
    )]
    async fn get_script_content(
        &self,
        Parameters(query): Parameters<ScriptQuery>,
    ) -> Result<Json<ScriptAnswer>, QueryRefusal> {
        self.answer(move |shared, snapshot, budget| query.answer(&shared.index, snapshot, budget))
            .await
    }

    async fn answer<T: Send + 'static>(
        &self,
        work: impl FnOnce(&ServerState, &ProjectSnapshot, AnswerBudget) -> Result<T, QueryRefusal>
        + Send
        + 'static,
    ) -> Result<Json<T>, QueryRefusal> {
        let answer = self.on_blocking_thread(|shared| {
            let snapshot = shared.index.snapshot().map_err(|error| error.to_string())?;
            let budget = AnswerBudget::new(shared.index.limits().answer_bytes_max);
            work(shared, &snapshot, budget)
        });
        answer.await.map(Json)
    }

    /// Runs `work` where it may block, once fewer than [`WORKING_MAX`] questions are being answered.
    async fn on_blocking_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce(&ServerState) -> Result<T, QueryRefusal> + Send + 'static,
    ) -> Result<T, QueryRefusal> {
        let Ok(place) = self.shared.waiting.clone().try_acquire_owned() else {
            return Err(format!(
                "busy: {WAITING_MAX} questions are waiting already; ask again later"
            ));
        };
        let working = self.shared.working.clone().acquire_owned().await;
        let working = working.expect("the semaphore is never closed");
        let shared = self.shared.clone();
        let outcome = tokio::task::spawn_blocking(move || {
            // Held until the work is over, even if the client went away meanwhile.
            let _held = (place, working);
            work(&shared)
        });
        outcome.await.unwrap_or_else(|error| {
            tracing::error!(error = %error, "ERROR: a question could not be answered");
            Err("this question made the instance fail; the others are not affected".to_owned())
        })
    }

    /// Takes `versionId` out of a call's arguments; a refusal if it names another version than this one.
    fn take_version(&self, request: &mut CallToolRequestParams) -> Result<(), QueryRefusal> {
        let named = request
            .arguments
            .as_mut()
            .and_then(|arguments| arguments.remove(schema::VERSION_ID));
        let named = match named {
            None => return Ok(()),
            Some(Value::String(id)) => id,
            Some(other) => other.to_string(),
        };
        match &self.shared.version_id {
            Some(served) if *served != named => Err(format!(
                "this instance serves version {served}, not {named}"
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
