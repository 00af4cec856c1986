use std::sync::atomic::Ordering;

use ring::signature::{RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RsaPublicKeyComponents};
use serde_json::{Value, json};

use world::{HEADER, ISSUER, Keys, NOW, World, claims, encode, good, now, policy, sign, world};

use super::*;
use crate::Denied;
use crate::secret::digest;

mod world;

fn told(outcome: Result<Arc<Caller>, Bad>) -> String {
    match outcome {
        Ok(caller) => format!("welcome {} {:?}", caller.key_id, caller.scopes),
        Err(Bad::Expired) => "expired".to_owned(),
        Err(Bad::Refused(reason)) => reason.to_owned(),
    }
}

async fn check(world: &World, name: &str, token: &str, expected: &str) {
    let told = told(world.read(token, now()).await);
    assert!(told.contains(expected), "{name}: expected {expected:?}, got {told:?}");
}

const WELCOME: &str = r#"welcome token:corp/alice ["llm:chat"]"#;

#[tokio::test]
async fn claims_are_demanded_and_checked() {
    let world = world(policy());
    for (changes, expected) in [
        (json!({}), WELCOME),
        (json!({ "aud": ["other", "https://agentry.test"] }), WELCOME),
        (json!({ "exp": NOW - 29 }), WELCOME),
        (json!({ "exp": f64::from(NOW) + 0.5 }), WELCOME),
        (json!({ "nbf": NOW + 30, "iat": NOW + 30 }), WELCOME),
        (json!({ "iat": null }), WELCOME),
        (json!({ "scope": ["llm:chat", 7, "fly"] }), WELCOME),
        (json!({ "scope": "llm:*" }), r#"["llm:chat", "llm:embed"]"#),
        (json!({ "scope": "* operator" }), r#"["llm:chat", "llm:embed", "incidents:read"]"#),
        (json!({ "scope": null }), "welcome token:corp/alice []"),
        (json!({ "scope": { "llm:chat": true } }), "welcome token:corp/alice []"),
        (json!({ "iss": null }), "does not say who issued it"),
        (json!({ "iss": 7 }), "does not say who issued it"),
        (json!({ "iss": "https://issuer.test" }), "issuer is not known"),
        (json!({ "iss": "https://issuer.test/x" }), "issuer is not known"),
        (json!({ "iss": [ISSUER] }), "does not say who issued it"),
        (json!({ "aud": null }), "meant for somebody else"),
        (json!({ "aud": "" }), "meant for somebody else"),
        (json!({ "aud": "Agentry" }), "meant for somebody else"),
        (json!({ "aud": "agentry other" }), "meant for somebody else"),
        (json!({ "aud": [] }), "meant for somebody else"),
        (json!({ "aud": [["agentry"]] }), "meant for somebody else"),
        (json!({ "aud": { "agentry": 1 } }), "meant for somebody else"),
        (json!({ "exp": null }), "does not say when it expires"),
        (json!({ "exp": NOW - 30 }), "expired"),
        (json!({ "exp": 0 }), "expired"),
        (json!({ "exp": (NOW + 600).to_string() }), "not a number of seconds"),
        (json!({ "exp": -1 }), "not a number of seconds"),
        (json!({ "exp": 1e300 }), "not a number of seconds"),
        (json!({ "exp": true }), "not a number of seconds"),
        (json!({ "exp": [NOW + 600] }), "not a number of seconds"),
        (json!({ "nbf": NOW + 31 }), "not valid yet"),
        (json!({ "nbf": "0" }), "not a number of seconds"),
        (json!({ "iat": NOW + 31 }), "made in the future"),
        (json!({ "iat": "now" }), "not a number of seconds"),
        (json!({ "sub": null }), "does not say whose it is"),
        (json!({ "sub": "" }), "does not say whose it is"),
        (json!({ "sub": 7 }), "does not say whose it is"),
        (json!({ "sub": "a\nb" }), "does not say whose it is"),
        (json!({ "sub": "x".repeat(257) }), "does not say whose it is"),
    ] {
        let token = world.es256(HEADER, &claims(&changes));
        check(&world, &changes.to_string(), &token, expected).await;
    }
}

/// Whether a token with this header and an ES256 signature is let in.
async fn check_header(world: &World, header: &str, expected: &str) {
    check(world, header, &world.es256(header, &good()), expected).await;
}

#[tokio::test]
async fn headers_are_read_strictly() {
    let world = world(policy());
    let algorithm = "algorithm is not accepted";
    for (header, expected) in [
        (HEADER, "welcome"),
        (r#"{"alg":"ES256","kid":"ec","typ":"JWT"}"#, "welcome"),
        (r#"{"alg":"ES256","kid":"ec","typ":"application/at+jwt"}"#, "welcome"),
        (r#"{"alg":"ES256","kid":"ec","x":[1,{"y":null}]}"#, "welcome"),
        (r#"{"alg":"none","kid":"ec"}"#, algorithm),
        (r#"{"alg":"nOnE","kid":"ec"}"#, algorithm),
        (r#"{"alg":"","kid":"ec"}"#, algorithm),
        (r#"{"alg":"es256","kid":"ec"}"#, algorithm),
        (r#"{"alg":"ES256 ","kid":"ec"}"#, algorithm),
        (r#"{"alg":"HS256","kid":"ec"}"#, algorithm),
        (r#"{"alg":"ES384","kid":"ec"}"#, algorithm),
        (r#"{"kid":"ec"}"#, "names no algorithm"),
        (r#"{"alg":["ES256"],"kid":"ec"}"#, "names no algorithm"),
        (r#"{"alg":null,"kid":"ec"}"#, "names no algorithm"),
        (r#"{"alg":"RS256","kid":"ec"}"#, "signature is wrong"),
        (r#"{"alg":"EdDSA","kid":"ec"}"#, "signature is wrong"),
        (r#"{"alg":"ES256","kid":"rsa"}"#, "signature is wrong"),
        (r#"{"alg":"ES256","kid":"crooked"}"#, "signature is wrong"),
        (r#"{"alg":"ES256","kid":"other"}"#, "not known"),
        (r#"{"alg":"ES256","kid":"../../dev/null"}"#, "not known"),
        (r#"{"alg":"ES256","kid":"shared"}"#, "not known"),
        (r#"{"alg":"ES256","kid":"short"}"#, "not known"),
        (r#"{"alg":"ES256"}"#, "not known"),
        (r#"{"alg":"ES256","kid":7}"#, "odd way"),
        (r#"{"alg":"ES256","kid":"ec","crit":["b64"],"b64":false}"#, "extension"),
        (r#"{"alg":"ES256","kid":"ec","typ":"JWE"}"#, "no JWT"),
        (r#"{"alg":"ES256","kid":"ec","typ":7}"#, "no JWT"),
        (r#"{"alg":"none","alg":"ES256","kid":"ec"}"#, "each name once"),
        (r#"["ES256"]"#, "header is no JSON object"),
        ("", "header is no JSON object"),
    ] {
        check_header(&world, header, expected).await;
    }
}

#[tokio::test]
async fn only_the_issuers_signature_counts() {
    let world = world(policy());
    let keys = &world.keys;
    let rsa = |header: &str, padding| sign(header, &good(), |text| keys.rsa(padding, text));
    let with = |header: &str, signature: &[u8]| sign(header, &good(), |_| signature.to_vec());
    let hmac = |secret: &[u8]| {
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
        let header = r#"{"alg":"HS256","kid":"rsa"}"#;
        sign(header, &good(), |text| ring::hmac::sign(&key, text).as_ref().to_vec())
    };
    let RsaPublicKeyComponents::<Vec<u8>> { n: modulus, .. } = keys.rsa.public().into();
    let stranger = Keys::new();
    let forged = |header: &str| sign(header, &good(), |text| stranger.es256(text));
    let own = stranger.jwks()["keys"][0].to_string();
    let brought = format!(
        r#"{{"alg":"ES256","kid":"ec","jku":"https://evil.test/keys","x5u":"https://evil.test/","jwk":{own}}}"#
    );
    let ed =
        sign(r#"{"alg":"EdDSA","kid":"ed"}"#, &good(), |text| keys.ed.sign(text).as_ref().to_vec());
    let rs256 = r#"{"alg":"RS256","kid":"rsa"}"#;
    let (algorithm, signature) = ("algorithm is not accepted", "signature is wrong");
    let cases = [
        ("RS256", rsa(rs256, &RSA_PKCS1_SHA256), "welcome"),
        ("EdDSA", ed, "welcome"),
        (
            "its own algorithm",
            rsa(r#"{"alg":"RS256","kid":"only-rs256"}"#, &RSA_PKCS1_SHA256),
            "welcome",
        ),
        ("none", with(r#"{"alg":"none"}"#, b"x"), algorithm),
        ("none and nothing", with(r#"{"alg":"none","kid":"ec"}"#, b""), "not signed"),
        ("the modulus as a secret", hmac(&modulus), algorithm),
        ("nothing as a secret", hmac(b""), algorithm),
        ("a published secret", hmac(b"secret secret secret secret secr"), algorithm),
        ("RS512", rsa(r#"{"alg":"RS512","kid":"rsa"}"#, &RSA_PKCS1_SHA512), algorithm),
        ("PS256", rsa(r#"{"alg":"PS256","kid":"rsa"}"#, &RSA_PSS_SHA256), algorithm),
        ("PSS as PKCS #1", rsa(rs256, &RSA_PSS_SHA256), signature),
        ("SHA-512 as SHA-256", rsa(rs256, &RSA_PKCS1_SHA512), signature),
        ("RSA as ES256", rsa(r#"{"alg":"ES256","kid":"rsa"}"#, &RSA_PKCS1_SHA256), signature),
        ("another's", forged(HEADER), signature),
        ("a key that it brings along", forged(&brought), signature),
        ("zeroes", with(HEADER, &[0; 64]), signature),
        ("DER", with(HEADER, &[0x30; 70]), signature),
        ("a weak key", rsa(r#"{"alg":"RS256","kid":"weak"}"#, &RSA_PKCS1_SHA256), "not known"),
        (
            "for encryption",
            rsa(r#"{"alg":"RS256","kid":"for-encryption"}"#, &RSA_PKCS1_SHA256),
            "not known",
        ),
    ];
    for (name, token, expected) in cases {
        check(&world, name, &token, expected).await;
    }
}

#[tokio::test]
async fn what_is_no_token_is_refused() {
    let world = world(policy());
    let token = world.es256(HEADER, &good());
    let [header, payload, signature] = token.split('.').collect::<Vec<_>>()[..] else {
        unreachable!()
    };
    let twice = good().replace(r#""sub":"alice""#, r#""sub":"alice","sub":"bob""#);
    let admin = encode(good().replace("alice", "root").as_bytes());
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let cases = [
        ("nothing", String::new(), "three parts"),
        ("two parts", format!("{header}.{payload}"), "three parts"),
        ("four parts", format!("{token}.x"), "three parts"),
        ("five parts", format!("{token}.x.y"), "three parts"),
        ("dots", "..".to_owned(), "header is no JSON object"),
        ("no signature", format!("{header}.{payload}."), "not signed"),
        ("a changed payload", format!("{header}.{admin}.{signature}"), "signature is wrong"),
        (
            "a changed header",
            format!("{}.{payload}.{signature}", encode(br#"{"kid":"ec","alg":"ES256"}"#)),
            "signature is wrong",
        ),
        (
            "half a signature",
            format!("{header}.{payload}.{}", &signature[..40]),
            "signature is wrong",
        ),
        (
            "a cut payload",
            format!("{header}.{}.{signature}", encode(&good().as_bytes()[..20])),
            "payload is no JSON object",
        ),
        ("padding", format!("{header}.{payload}.{signature}=="), "not base64url"),
        ("standard base64", format!("{header}.{payload}.+/+/"), "not base64url"),
        ("a space", format!("{header}.{payload} .{signature}"), "not base64url"),
        ("a line end", format!("{header}.{payload}.{signature}\n"), "not base64url"),
        ("a payload that is a list", world.es256(HEADER, "[]"), "payload is no JSON object"),
        ("a payload that is text", world.es256(HEADER, "alice"), "payload is no JSON object"),
        ("an empty payload", world.es256(HEADER, ""), "payload is no JSON object"),
        (
            "two payloads",
            world.es256(HEADER, &format!("{0}{0}", good())),
            "payload is no JSON object",
        ),
        ("a claim twice", world.es256(HEADER, &twice), "each name once"),
        (
            "a bottomless payload",
            world.es256(HEADER, &format!(r#"{{"a":{deep}}}"#)),
            "payload is no JSON object",
        ),
        (
            "a huge one",
            world.es256(HEADER, &claims(&json!({ "x": "x".repeat(9_000) }))),
            "longer than any token",
        ),
    ];
    for (name, token, expected) in cases {
        check(&world, name, &token, expected).await;
    }
    let raw = [header.as_bytes(), b".\xff\xfe.", signature.as_bytes()].concat();
    let refused = world.tokens.verify(&raw, [0; 32], now()).await;
    assert_eq!(refused.unwrap_err(), Bad::Refused("a part of it is not base64url"));
}

#[tokio::test]
async fn a_token_becomes_a_caller() {
    let mut policy = policy();
    policy.tenant = TenantOf::Claim("org.tenant".to_owned());
    let world = world(policy);
    let with = |tenant: Value, team: Value| {
        world.es256(HEADER, &claims(&json!({ "org": { "tenant": tenant, "team": team } })))
    };
    let caller = world.read(&with("acme".into(), "search".into()), now()).await.unwrap();
    assert_eq!((&*caller.tenant, caller.team.as_deref()), ("acme", Some("search")));
    assert_eq!((&*caller.name, caller.user.as_deref()), ("corp/alice", Some("alice")));
    assert_eq!((caller.limits.rpm, caller.actor().as_str()), (Some(7), "person:corp/alice"));
    let odd = world.read(&with("acme".into(), "a/b".into()), now()).await.unwrap();
    assert_eq!(odd.team, None);
    for tenant in [json!("a/b"), json!(""), json!(7), Value::Null, json!(["acme"])] {
        check(&world, "tenant", &with(tenant, Value::Null), "names no tenant").await;
    }
}

#[tokio::test]
async fn a_token_is_remembered_by_all_of_it_and_not_for_long() {
    let world = world(policy());
    let [short, long] = [20, 600].map(|seconds| {
        world.es256(HEADER, &claims(&json!({ "exp": NOW + seconds, "scope": "llm:chat" })))
    });
    let remembered = |token: &str, seconds: i32| {
        let at = Timestamp::from_seconds(NOW + seconds);
        world.tokens.remembered(&digest(token.as_bytes()), at).is_some()
    };
    assert!(!remembered(&short, 0));
    for token in [&short, &long] {
        world.read(token, now()).await.unwrap();
    }
    assert!(remembered(&short, 19) && !remembered(&short, 20), "not beyond its own end");
    assert!(remembered(&long, 59) && !remembered(&long, 60), "then its signature is checked again");
    assert!(!remembered(&long, -1), "a clock that was set back proves nothing");
    let other_end = format!("{}A", &long[..long.len() - 1]);
    assert!(
        other_end == long || !remembered(&other_end, 0),
        "two that begin alike are not the same"
    );
}

#[tokio::test]
async fn keys_are_fetched_when_an_unknown_one_appears_but_not_more_than_once_a_minute() {
    let world = world(policy());
    let fetched = || world.source.fetched.load(Ordering::Relaxed);
    let at = |seconds: i32| Timestamp::from_seconds(NOW + seconds);
    let token = world.es256(HEADER, &good());
    let stranger = world.es256(r#"{"alg":"ES256","kid":"new"}"#, &good());
    assert_eq!(fetched(), 0);
    world.read(&token, at(0)).await.unwrap();
    for seconds in [1, 30, 59] {
        world.read(&stranger, at(seconds)).await.unwrap_err();
    }
    assert_eq!(fetched(), 1);
    let mut rotated = world.keys.jwks();
    rotated["keys"][0]["kid"] = "new".into();
    *world.source.jwks.lock().unwrap() = Ok(rotated);
    world.read(&stranger, at(60)).await.unwrap();
    assert_eq!(fetched(), 2);
    assert_eq!(
        told(world.read(&token, at(61)).await),
        "the key that it is signed with is not known"
    );

    *world.source.jwks.lock().unwrap() = Err("away".to_owned());
    world.read(&token, at(130)).await.unwrap_err();
    world.read(&stranger, at(131)).await.unwrap();
    for broken in [json!({}), json!({ "keys": 7 }), json!({ "keys": vec![json!({}); 101] })] {
        *world.source.jwks.lock().unwrap() = Ok(broken);
        let issuer = &world.tokens.issuers[0];
        issuer.renew(at(200)).await.unwrap_err();
    }
    world.read(&stranger, at(201)).await.unwrap();
}

#[test]
fn reasons_never_repeat_what_was_presented() {
    let denied = Denied::Invalid { reason: "its signature is wrong" };
    assert_eq!(denied.to_string(), "the API key or token is not accepted: its signature is wrong");
}

#[tokio::test]
async fn whoever_presents_bad_tokens_gets_no_more_signatures_checked() {
    let World { keys, source, tokens } = world(policy());
    let [issuer] = tokens.issuers.try_into().unwrap_or_else(|_| panic!("one issuer"));
    let store = Arc::new(agentry_backends::memory::MemoryStore::new());
    let ring = Arc::new(crate::KeyRing::open(store, Vec::new()).await.unwrap());
    let settings = crate::Settings { failures_per_minute: 2 };
    let door = crate::Authenticator::new(ring, vec![issuer], settings);
    let there = std::net::IpAddr::from([203, 0, 113, 9]);
    let ask = async |token: &str, seconds: i32| {
        let mut headers = http::HeaderMap::new();
        headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
        let at = Timestamp::from_seconds(NOW + seconds);
        match door.authenticate(&headers, there, at).await {
            Ok(caller) => caller.key_id.to_string(),
            Err(denied) => agentry_core::Failure::code(&denied).0.to_owned(),
        }
    };
    let [known, fresh] = ["alice", "bob"]
        .map(|user| sign(HEADER, &claims(&json!({ "sub": user })), |text| keys.es256(text)));
    assert_eq!(ask(&known, 0).await, "token:corp/alice");
    let forged = format!("{}AAAA", &known[..known.len() - 4]);
    for expected in ["key_invalid", "key_invalid", "key_attempts_exceeded"] {
        assert_eq!(ask(&forged, 1).await, expected);
    }
    assert_eq!(ask(&fresh, 2).await, "key_attempts_exceeded", "though it is good");
    assert_eq!(ask(&known, 2).await, "token:corp/alice", "which costs nothing");
    assert_eq!(ask(&fresh, 61).await, "token:corp/bob");
    assert_eq!(source.fetched.load(Ordering::Relaxed), 1);
}
