//! What a model says, told to whoever watches while it is said.

use agentry_core::chat::{Assembly, ChatRequest, ChatResponse, Event};
use agentry_core::model::{CallContext, ModelError};
use agentry_engine::NodeContext;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::Visit;

/// Pieces are told when they have this many bytes.
const PIECE_BYTES: usize = 24;

/// The whole answer. `place` tells the answers of one node apart: the item that it is at, and the number of the call.
pub(crate) async fn ask(
    visit: &Visit<'_>,
    cx: &CallContext,
    request: ChatRequest,
    place: (usize, u32),
) -> Result<ChatResponse, ModelError> {
    let request = ChatRequest { stream: true, ..request };
    let mut stream = visit.ports.model.stream(cx, request).await?;
    let mut assembly = Assembly::default();
    let mut piece = String::new();
    let node = visit.node();
    let id = id(node, place);
    while let Some(event) = stream.next().await {
        let event = event?;
        if let Event::Text { choice: 0, text } = &event {
            piece.push_str(text);
        }
        assembly.push(event);
        let is_over = assembly.is_done();
        if !piece.is_empty() && (is_over || piece.len() >= PIECE_BYTES) {
            visit.tell("messages", json!([chunk(&id, &piece), metadata(node)]));
            piece.clear();
        }
        if is_over {
            return Ok(assembly.into_response());
        }
    }
    Err(ModelError::Truncated)
}

/// What the pieces of an answer are told under.
pub(crate) fn id(node: &NodeContext, (item, number): (usize, u32)) -> String {
    let place = (node.namespace(), node.node(), node.superstep(), item);
    let digest = Sha256::digest(format!("{place:?}").as_bytes());
    let short: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{short}-{number}", node.run())
}

/// A piece of what a model says, as LangChain has it.
fn chunk(id: &str, text: &str) -> Value {
    json!({
        "type": "AIMessageChunk",
        "id": id,
        "content": text,
        "additional_kwargs": {},
        "response_metadata": {},
        "tool_calls": [],
        "invalid_tool_calls": [],
        "tool_call_chunks": [],
    })
}

fn metadata(node: &NodeContext) -> Value {
    json!({
        "langgraph_node": node.node(),
        "langgraph_step": node.superstep(),
        "langgraph_checkpoint_ns": node.namespace(),
        "run_id": node.run(),
        "thread_id": node.thread(),
        "tags": [],
    })
}
