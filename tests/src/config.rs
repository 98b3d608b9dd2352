//! The configuration of a router under test: what each scenario changes, on top of what keeps it inside its folder.

use std::{collections::BTreeMap, path::Path};

/// How to launch one server, and what is special about it.
#[derive(Debug, Clone)]
pub struct Server {
    /// The name of its template, and its instance's id.
    pub id: String,
    /// The program.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Further lines of its template, as they stand in the file.
    pub template: Vec<String>,
    /// Further lines of its instance.
    pub instance: Vec<String>,
}

impl Server {
    /// A server.
    #[must_use]
    pub fn new(
        id: &str,
        command: impl Into<String>,
        args: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        Self {
            id: id.to_owned(),
            command: command.into(),
            args: args.into_iter().map(Into::into).collect(),
            template: Vec::new(),
            instance: Vec::new(),
        }
    }

    /// With another id.
    #[must_use]
    pub fn named(mut self, id: &str) -> Self {
        id.clone_into(&mut self.id);
        self
    }

    /// Started with the router.
    #[must_use]
    pub fn autostart(mut self) -> Self {
        self.instance.push("autostart = true".to_owned());
        self
    }

    /// With a further line in its template.
    #[must_use]
    pub fn with(mut self, line: &str) -> Self {
        self.template.push(line.to_owned());
        self
    }

    fn rendered(&self) -> String {
        // Debug output of these texts is TOML too: quotes, backslashes and control characters are written alike.
        let args: Vec<String> = self.args.iter().map(|arg| format!("{arg:?}")).collect();
        // An id may be a number or hold dots; a template's name may not.
        let template = format!("t-{}", self.id.to_lowercase().replace(['.', '@'], "-"));
        format!(
            "\n[template.{template}]\ncommand = {:?}\nargs = [{}]\n{}\n\n[[instance]]\nid = {:?}\ntemplate = \"{template}\"\n{}\n",
            self.command,
            args.join(", "),
            self.template.join("\n"),
            self.id,
            self.instance.join("\n"),
        )
    }
}

/// A configuration. Lines are gathered by section, so that scenarios can add to one without knowing what is in it.
#[derive(Debug, Clone, Default)]
pub struct Config {
    sections: BTreeMap<String, Vec<String>>,
    servers: Vec<Server>,
    tail: String,
    bundled_policy: bool,
    plugins: Vec<String>,
}

impl Config {
    /// Nothing but what keeps a router inside its folder; the built-in rule judges.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With the bundled policy in the folder's `plugins`, judging.
    #[must_use]
    pub fn bundled_policy(mut self) -> Self {
        self.bundled_policy = true;
        self.set("policy", "health = \"default-health\"")
    }

    /// Whether the bundled policy has to be there.
    #[must_use]
    pub fn wants_bundled_policy(&self) -> bool {
        self.bundled_policy
    }

    /// With the bundled alert rule in the folder's `plugins`, asked.
    #[must_use]
    pub fn bundled_alerts(mut self) -> Self {
        self.plugins.push("default-alerts.wasm".to_owned());
        self.set("alerts", "rules = [\"default-alerts\"]")
    }

    /// With a plugin that comes with the router in the folder's `plugins`.
    #[must_use]
    pub fn plugin(mut self, file: &str) -> Self {
        self.plugins.push(file.to_owned());
        self
    }

    /// The plugins that have to be there.
    #[must_use]
    pub fn plugins(&self) -> &[String] {
        &self.plugins
    }

    /// A line in a section. A later line on the same key wins.
    #[must_use]
    pub fn set(mut self, section: &str, line: &str) -> Self {
        let lines = self.sections.entry(section.to_owned()).or_default();
        let key = |line: &str| line.split('=').next().unwrap_or_default().trim().to_owned();
        lines.retain(|other| key(other) != key(line));
        lines.push(line.to_owned());
        self
    }

    /// Without a line in a section.
    #[must_use]
    pub fn unset(mut self, section: &str, key: &str) -> Self {
        let lines = self.sections.entry(section.to_owned()).or_default();
        lines.retain(|line| line.split('=').next().is_none_or(|name| name.trim() != key));
        self
    }

    /// With an instance.
    #[must_use]
    pub fn server(mut self, server: Server) -> Self {
        self.servers.push(server);
        self
    }

    /// With text at the end, as it is.
    #[must_use]
    pub fn tail(mut self, text: &str) -> Self {
        self.tail.push_str(text);
        self.tail.push('\n');
        self
    }

    /// The text of the file for a router in a folder.
    #[must_use]
    pub fn rendered(&self, home: &Path) -> String {
        let own = [
            ("server", "listen = \"127.0.0.1:0\"".to_owned()),
            ("server", format!("data_dir = {:?}", home.join("data"))),
            (
                "storage",
                format!(
                    "url = \"sqlite://{}\"",
                    home.join("data/router.db").display()
                ),
            ),
            ("logging", format!("dir = {:?}", home.join("logs"))),
            ("instances", format!("socket_dir = {:?}", home.join("s"))),
            ("plugins", format!("dir = {:?}", home.join("plugins"))),
        ];
        let mut merged = Self::default();
        for (section, line) in own {
            merged = merged.set(section, &line);
        }
        if !self.bundled_policy {
            merged = merged.set("policy", "health = \"builtin\"");
        }
        merged = merged.set("policy", "breaker = \"builtin\"");
        merged = merged.set("policy", "capacity = \"builtin\"");
        merged = merged.set("alerts", "rules = []");
        for (section, lines) in &self.sections {
            for line in lines {
                merged = merged.set(section, line);
            }
        }
        let mut text = String::new();
        for (section, lines) in &merged.sections {
            text.push_str(&format!("[{section}]\n{}\n\n", lines.join("\n")));
        }
        for server in &self.servers {
            text.push_str(&server.rendered());
        }
        text.push_str(&self.tail);
        text
    }
}
