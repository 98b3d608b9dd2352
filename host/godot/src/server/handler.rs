//! The protocol's requests: tools, resources, and what is said of this server in the handshake.

use rmcp::handler::server::tool::ToolCallContext;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation,
    ListResourceTemplatesResult, ListResourcesResult, ListToolsResult, PaginatedRequestParams,
    ProtocolVersion, ReadResourceRequestParams, ReadResourceResponse, ServerCapabilities,
    ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};

use super::{GodotServer, resources};

impl ServerHandler for GodotServer {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_resources()
            .build();
        let implementation =
            Implementation::new("godot-mcp-router-instance", env!("CARGO_PKG_VERSION"))
                .with_title("Godot project");
        ServerConfig::new(capabilities)
            .with_protocol_version(ProtocolVersion::LATEST_WITH_INITIALIZE)
            .with_server_info(implementation)
            .with_instructions(
                "Answers questions about one Godot project from its files, read-only and without the engine. \
                 Start with get_project; find things with search_nodes; pass the ids it returns to \
                 get_node_dependencies and get_script_content. Paths are res:// paths. Hidden folders are never \
                 shown; res://addons is left out of searches unless includeAddons is true.",
            )
    }

    fn supported_protocol_versions(&self) -> std::borrow::Cow<'static, [ProtocolVersion]> {
        let known = ProtocolVersion::known_up_to(&ProtocolVersion::LATEST_WITH_INITIALIZE);
        std::borrow::Cow::Borrowed(known)
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(self.shared.tools.clone()))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.shared
            .tools
            .iter()
            .find(|tool| tool.name == name)
            .cloned()
    }

    async fn call_tool(
        &self,
        mut request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        if self.shared.router.get(&request.name).is_none() {
            let names: Vec<&str> = self
                .shared
                .tools
                .iter()
                .map(|tool| tool.name.as_ref())
                .collect();
            let message = format!(
                "unknown tool `{}`; there are {}",
                request.name,
                names.join(", ")
            );
            return Err(ErrorData::invalid_params(message, None));
        }
        if let Some(arguments) = &mut request.arguments {
            // Many clients send null for what they leave out.
            arguments.retain(|_, value| !value.is_null());
        }
        if let Err(refusal) = self.take_version(&mut request) {
            return Ok(CallToolResult::error(vec![ContentBlock::text(refusal)]).into());
        }
        let call = ToolCallContext::new(self, request, context);
        self.shared.router.call(call).await
    }

    async fn list_resources(
        &self,
        request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let cursor = request.and_then(|request| request.cursor);
        let offset = resources::offset(cursor.as_deref())?;
        self.on_blocking_thread(move |shared| resources::list(&shared.index, offset))
            .await
            .map_err(|refusal| ErrorData::internal_error(refusal, None))
    }

    async fn list_resource_templates(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        Ok(ListResourceTemplatesResult::with_all_items(
            resources::templates(),
        ))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let uri = request.uri;
        self.on_blocking_thread(move |shared| {
            resources::read(&shared.index, shared.version_id.as_deref(), &uri)
        })
        .await
        .map(Into::into)
        .map_err(|refusal| ErrorData::resource_not_found(refusal, None))
    }
}
