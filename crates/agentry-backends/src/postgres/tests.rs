use super::*;

#[test]
fn a_url_that_cannot_be_used_says_why_and_shows_no_password() {
    let check = |url: &str, expected: &str| {
        let problem = url.parse::<Settings>().err().expect("it is refused").to_string();
        assert!(problem.contains(expected), "{problem}");
        assert!(problem.contains("write it as postgres://"), "{problem}");
        assert!(!problem.contains("secret"), "{problem}");
    };
    check("agentry", "relative URL without a base");
    check("mysql://u:secret@h/d", "it does not begin with postgres://");
    check("postgres://u:secret@h/d?schema=Robert'); DROP", "`schema` is not a word");
    check("postgres://u:secret@h/d?schema=", "`schema` is not a word");
    check("postgres://u:secret@h/d?connections=0", "`connections` is not a number");
    check("postgres://u:secret@h/d?options=-c%20fsync=off", "`options` is set by Agentry");
    check("postgres://u:secret@h/d?sslmode=maybe", "sslmode");
    check("postgres://u:secret@h:99999/d", "port");
    check("postgres:///d", "it names no host");
    check("postgres://u:secret@h/d?sslrootcert=/nowhere.pem", "the `sslrootcert` /nowhere.pem");
}

#[test]
fn a_url_is_read_whole() {
    let settings = |url: &str| url.parse::<Settings>().expect("it is read");
    let plain = settings("postgres://u:p%40ss@db.example:5433/d");
    assert_eq!((plain.schema.as_str(), plain.connections), ("agentry", 8));
    assert_eq!(plain.config.get_password(), Some(&b"p@ss"[..]));
    assert_eq!(plain.server(), "PostgreSQL at db.example:5433");
    let full = settings(
        "postgresql://u@h/d?schema=team_1&connections=3&sslmode=verify-full&keepalives_idle=10",
    );
    assert_eq!((full.schema.as_str(), full.connections), ("team_1", 3));
    assert_eq!(full.config.get_ssl_mode(), tokio_postgres::config::SslMode::Require);
    assert_eq!(full.config.get_keepalives_idle(), std::time::Duration::from_secs(10));
    assert!(full.config.get_options().unwrap().contains("search_path=team_1 "));
}

#[tokio::test]
async fn a_server_that_is_not_there_says_so() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let url = format!("postgres://u:secret@127.0.0.1:{port}/d");
    let problem = PostgresStore::open(&url).await.err().expect("nobody listens");
    assert!(matches!(problem, OpenError::Unreachable { .. }), "{problem:?}");
    let text = problem.to_string();
    assert!(text.starts_with(&format!("PostgreSQL at 127.0.0.1:{port} cannot be")), "{text}");
    assert!(!text.contains("secret"), "{text}");
}
