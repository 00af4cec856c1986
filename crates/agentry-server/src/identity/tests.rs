use http::Method;

use super::need;

fn check(method: Method, route: &str, expected: &str) {
    let needed = match need(&method, route) {
        super::Need::Nothing => "nothing".to_owned(),
        super::Need::Caller => "a caller".to_owned(),
        super::Need::Any(scopes) => scopes.to_string(),
        super::Need::OfInstance(scopes) | super::Need::OfIncidents(scopes) => {
            format!("{scopes} of main")
        }
    };
    assert_eq!(needed, expected, "{method} {route}");
}

#[test]
fn every_route_needs_what_it_should() {
    let (get, post, delete) = (Method::GET, Method::POST, Method::DELETE);
    check(get.clone(), "/health", "nothing");
    check(get.clone(), "/ready", "nothing");
    check(get.clone(), "/metrics", "metrics:read or admin or operator of main");
    check(post.clone(), "/v1/chat/completions", "llm:chat");
    check(post.clone(), "/v1/messages", "llm:chat");
    check(post.clone(), "/v1/messages/count_tokens", "llm:chat");
    check(post.clone(), "/v1/responses", "llm:chat");
    check(get.clone(), "/v1/responses/{id}", "llm:chat");
    check(post.clone(), "/v1/embeddings", "llm:embed");
    check(get.clone(), "/v1/models", "a caller");
    check(get.clone(), "/v1/models/recommend", "a caller");
    check(get.clone(), "/v1/status", "metrics:read or admin or operator");
    check(get.clone(), "/v1/usage", "metrics:read or admin or operator");
    check(post.clone(), "/v1/watchdog/{id}/acknowledge", "admin or operator");
    check(get.clone(), "/v1/models/{*id}", "a caller");
    check(post.clone(), "/v1/alerts", "incidents:write of main");
    check(post.clone(), "/v1/alerts/alertmanager", "incidents:write of main");
    check(get.clone(), "/v1/incidents", "incidents:read of main");
    check(get.clone(), "/v1/incidents/{id}", "incidents:read of main");
    check(get.clone(), "/v1/approvals/{id}", "incidents:read or approvals:decide of main");
    check(post.clone(), "/v1/approvals/{id}", "approvals:decide of main");
    check(post.clone(), "/threads/{id}/runs", "agents:run");
    check(post.clone(), "/runs/crons", "agents:run");
    check(post.clone(), "/agents/search", "agents:run");
    check(delete.clone(), "/assistants/{id}", "agents:run");
    check(get.clone(), "/store/items", "agents:run");
    check(get.clone(), "/ok", "nothing");
    check(get.clone(), "/info", "a caller");
    check(get.clone(), "/v1/audit", "admin or operator");
    check(get.clone(), "/v1/keys", "admin or operator");
    check(delete.clone(), "/v1/users/{id}/data", "admin or operator");
    check(post.clone(), "/v1/config/reload", "operator");
    check(post.clone(), "/v1/threads/migrate", "operator");
    check(post.clone(), "/v1/threads/compact", "operator");
    check(get.clone(), "unmatched", "a caller");
    check(get.clone(), "/v1/of/tomorrow", "admin or operator");
    check(get, "/healthy", "admin or operator");
    check(post, "/health/x", "admin or operator");
    check(delete, "/", "admin or operator");
}
