//! `agents/*.toml` and `agents/*.json` beside the configuration, and the tools that they may use.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use agentry_agents::calculator::Calculator;
use agentry_agents::definition::{self, Around, Definition};
use agentry_core::tool::Toolbox;
use agentry_graphs::{File, Http};

use crate::config::Config;
use crate::graphs::{Error, files};

/// Where definitions are, as seen from the configuration.
pub(crate) const FOLDER: &str = "agents";

/// Every tool that there is; `http` calls the services among them.
pub(crate) fn tools(config: &Config, http: &Arc<dyn Http>) -> Toolbox {
    let tools = Toolbox::new().with(Arc::new(Calculator::default()));
    let declared = config.tools.iter();
    declared.fold(tools, |tools, tool| tools.with(tool.clone().tool(Arc::clone(http))))
}

/// All agents under `root`, checked against the tools and the models that there are.
pub(crate) fn read(
    root: &Path,
    models: Option<&BTreeSet<String>>,
    tools: &Toolbox,
) -> Result<BTreeMap<String, Definition>, Error> {
    let files = files(root, FOLDER).map_err(Error::Unreadable)?;
    let files: Vec<_> =
        files.iter().map(|File { name, text }| definition::File { name, text }).collect();
    definition::read(&files, Around { models, tools }).map_err(Error::Wrong)
}
