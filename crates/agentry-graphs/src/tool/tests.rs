use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;

use agentry_notation::{Notes, Problems, tree};

use super::*;
use crate::ports::{HeaderValue, Response};

/// The tool `stock` of a configuration, or what is wrong with it.
fn declared(text: &str) -> Result<Declared, String> {
    let environment = BTreeMap::new();
    let notes =
        Notes { problems: RefCell::default(), environment: &environment, folder: Path::new("") };
    let (table, problems) = tree::parse(text);
    assert!(problems.is_empty(), "{text}");
    let mut root = Reader::root(table, &notes);
    let tables = root.table("tools").map(Reader::tables).unwrap_or_default();
    let read = tables.into_iter().find_map(|table| read(table, text));
    let problems = notes.problems.into_inner();
    match read {
        Some(read) if problems.is_empty() => Ok(read),
        _ => Err(Problems::new("it", "agentry.toml", text, problems).to_string()),
    }
}

const STOCK: &str = "\
[tools.stock]
description = \"how many there are\"
url = \"https://stock.internal:8443/items/${sku}?at=${place}\"
headers = { authorization = { secret = \"env:TOKEN\" }, x-place = \"${place}\" }
parameters = { type = \"object\", properties = { sku = { type = \"string\" }, place = { type = \"string\" } }, required = [\"sku\"] }
";

#[test]
fn a_definition_says_what_a_tool_is() {
    let Declared { spec, host, timeout, .. } = declared(STOCK).unwrap();
    assert_eq!((spec.name.as_str(), host.as_str()), ("stock", "stock.internal"));
    assert_eq!((spec.effect, timeout), (Effect::Read, TIMEOUT));
    let risks = Risks { untrusted_input: true, private_data: true, acts_outside: false };
    assert_eq!(spec.risks, risks);
    let posts = "[tools.order]\ndescription = \"x\"\nurl = \"https://a.b/\"\nmethod = \"POST\"\n";
    let check = |more: &str, expected: Effect| {
        assert_eq!(declared(&format!("{posts}{more}")).unwrap().spec.effect, expected, "{more}");
    };
    check("", Effect::Once);
    check("idempotent = true", Effect::Idempotent);
    check("effect = \"read\"", Effect::Read);
}

#[test]
fn what_is_wrong_with_a_definition_is_said() {
    let check = |text: &str, expected: &str| {
        let text = format!("[tools.stock]\n{text}");
        let problem = declared(&text).unwrap_err();
        assert!(problem.contains(expected), "{problem}");
    };
    let fixed = "which service a tool calls cannot depend on its arguments";
    let rest = "description = \"x\"\nparameters = { type = \"object\", properties = { a = {} } }";
    check(&format!("url = \"https://${{a}}/x\"\n{rest}"), fixed);
    check(&format!("url = \"https://x${{a}}\"\n{rest}"), fixed);
    check(&format!("url = \"https://x:1{{{{ a }}}}\"\n{rest}"), fixed);
    check(&format!("url = \"https://me@x/{{{{ a }}}}\"\n{rest}"), fixed);
    check(&format!("url = \"https://x/${{b}}\"\n{rest}"), "the tool takes no `b`");
    check("url = \"https://x/\"", "needs `description`");
    check("description = \"x\"", "needs `url`");
    check(
        "description = \"x\"\nurl = \"https://x/\"\neffect = \"maybe\"",
        "there are read, idempotent, once",
    );
    check(
        "description = \"x\"\nurl = \"https://x/\"\nparameters = { type = \"string\" }",
        "are an object",
    );
    check("description = \"x\"\nurl = \"https://x/\"\nkind = \"http\"", "unknown key `kind`");
}

/// Answers with one status, and remembers what it was asked.
struct Answers(u16, Mutex<Vec<Request>>);

#[async_trait]
impl ports::Http for Answers {
    async fn send(&self, request: &Request, _: Duration) -> Result<Response, outbound::Error> {
        self.1.lock().unwrap().push(request.clone());
        Ok(Response { status: self.0, body: br#"{"count":3}"#.to_vec() })
    }
}

async fn call(
    text: &str,
    arguments: Value,
    status: u16,
) -> (Result<Value, ToolError>, Option<Request>) {
    let answers = Arc::new(Answers(status, Mutex::default()));
    let tool = declared(text).unwrap().tool(Arc::clone(&answers) as _);
    let (call_id, tenant, caller) = ("key".to_owned(), "t".to_owned(), "c".to_owned());
    let cx = ToolContext { call_id, tenant, caller, deadline: None };
    let called = tool.call(&cx, arguments).await;
    let request = answers.1.lock().unwrap().pop();
    (called.map(|output| output.0), request)
}

#[tokio::test]
async fn arguments_stand_where_they_belong_and_lead_nowhere_else() {
    let check = async |arguments: Value, url: &str| {
        let (called, request) = call(STOCK, arguments, 200).await;
        assert_eq!(called, Ok(json!({ "count": 3 })));
        let request = request.unwrap();
        assert_eq!(request.url, url);
        assert_eq!(request.idempotency_key.as_deref(), Some("key"));
        assert!(
            matches!(request.headers.first(), Some((name, HeaderValue::Secret(_))) if name == "authorization")
        );
    };
    let beginning = "https://stock.internal:8443/items/";
    check(json!({ "sku": "a1", "place": "x" }), &format!("{beginning}a1?at=x")).await;
    let sly = json!({ "sku": "../admin?x=ü", "place": "1&admin=1" });
    check(sly, &format!("{beginning}..%2Fadmin%3Fx%3D%C3%BC?at=1%26admin%3D1")).await;
    check(json!({ "sku": 7 }), &format!("{beginning}7?at=")).await;
    let (called, request) = call(STOCK, json!({ "sku": ".." }), 200).await;
    assert_eq!(
        called.unwrap_err().to_string(),
        "the arguments are wrong: `sku` cannot stand in an address"
    );
    assert_eq!(request, None);
}

#[tokio::test]
async fn without_a_body_of_its_own_a_tool_sends_what_it_is_given() {
    let text = "[tools.order]\ndescription = \"x\"\nurl = \"https://a.b/\"\nmethod = \"POST\"\nparameters = { type = \"object\", properties = { n = { type = \"integer\" } } }\n";
    let (_, request) = call(text, json!({ "n": 1 }), 200).await;
    assert_eq!(request.unwrap().body.as_deref(), Some(r#"{"n":1}"#));
    let (_, request) =
        call(&format!("{text}body = {{ count = \"${{n}}\" }}"), json!({ "n": 1 }), 200).await;
    assert_eq!(request.unwrap().body.as_deref(), Some(r#"{"count":1}"#));
}

#[tokio::test]
async fn a_status_tells_whose_fault_it_is() {
    let check = async |status: u16, expected: fn(&ToolError) -> bool| {
        let error = call(STOCK, json!({ "sku": "a" }), status).await.0.unwrap_err();
        assert!(expected(&error), "{status}: {error}");
    };
    check(404, |error| matches!(error, ToolError::InvalidArguments { .. })).await;
    check(403, |error| matches!(error, ToolError::Refused { .. })).await;
    check(503, |error| matches!(error, ToolError::Failed { .. })).await;
}
