//! The API, the page, health and metrics, and what is true of every route.

use super::*;

#[tokio::test]
async fn every_route_names_its_methods() {
    for (path, allow) in ROUTES {
        let path = path
            .replace("{*stream}", "demo")
            .replace("{*name}", "demo")
            .replace("{id}", ID)
            .replace("{number}", "1");
        for method in [
            "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE",
        ] {
            let answer = ask(&format!("{method} {path}"), &[], "").await;
            let taken = allow.split(", ").any(|one| one == method);
            assert_eq!(
                answer.status != 405,
                taken,
                "{method} {path}: {}",
                answer.status
            );
            if !taken {
                assert_eq!(answer.header("allow"), allow, "{method} {path}");
            }
        }
    }
}

#[tokio::test]
async fn the_document_has_every_route_and_method() {
    let document = serde_json::to_value(openapi::api()).unwrap();
    let is_listed = |path: &str| {
        let page = ["/", "/style.css", "/app.js", "/session.js", "/publish.js"];
        !page.contains(&path) && path != "/v1/openapi.json"
    };
    let mut paths = 0;
    for (path, allow) in ROUTES {
        let path = path.replace("{*", "{");
        if !is_listed(&path) {
            continue;
        }
        paths += 1;
        let methods = document["paths"][&path]
            .as_object()
            .unwrap_or_else(|| panic!("{path}"));
        let described: Vec<&str> = methods.keys().map(String::as_str).collect();
        let mut wanted: Vec<String> = allow.to_lowercase().split(", ").map(String::from).collect();
        // Every GET answers HEAD too.
        wanted.retain(|method| method != "head");
        if path.ends_with("/push") {
            // GET is that of a stream whose name ends so.
            wanted.retain(|method| method != "get");
        }
        wanted.sort();
        assert_eq!(described, wanted, "{path}");
    }
    assert_eq!(document["paths"].as_object().unwrap().len(), paths);
    assert_eq!(ask("GET /v1/openapi.json", &[], "").await.json(), document);
}

#[tokio::test]
async fn the_api_shows_streams_to_all_and_addresses_to_operators() {
    let site = site_with("[auth]\nadmin_tokens = [\"0123456789abcdef\"]");
    let token: (&str, &str) = ("authorization", "Bearer 0123456789abcdef");
    for (from, headers, sees) in [
        (HERE, vec![], true),
        (AWAY, vec![], false),
        (AWAY, vec![token], true),
        (HERE, vec![("x-forwarded-for", "192.0.2.1")], false),
    ] {
        for (path, pointer) in [
            ("/v1/streams", "/0/publisher/remote"),
            ("/v1/streams/demo", "/publisher/remote"),
        ] {
            let answer = send(&site, from, request(&format!("GET {path}"), &headers, "")).await;
            assert_eq!(answer.status, 200);
            let json = answer.json();
            assert_eq!(
                json.pointer(pointer).is_some(),
                sees,
                "{from} {headers:?} {path}"
            );
        }
    }
    assert_eq!(ask("GET /v1/streams/nobody", &[], "").await.status, 404);
    assert_eq!(ask("GET /v1/streams/a%2f..", &[], "").await.status, 400);
}

#[tokio::test]
async fn sessions_and_the_node_are_for_operators() {
    let site = site_with("[auth]\nadmin_tokens = [\"0123456789abcdef\"]");
    let token = [("authorization", "Bearer 0123456789abcdef")];
    let id = format!("/v1/sessions/{ID}");
    for (line, status) in [
        ("GET /v1/sessions", 200),
        (&format!("GET {id}")[..], 200),
        (&format!("DELETE {id}")[..], 204),
        ("DELETE /v1/sessions/nobody", 404),
        ("GET /v1/node", 200),
    ] {
        assert_eq!(
            send(&site, HERE, request(line, &[], "")).await.status,
            status,
            "{line}"
        );
        assert_eq!(
            send(&site, AWAY, request(line, &token, "")).await.status,
            status,
            "{line}"
        );
        let stranger = send(&site, AWAY, request(line, &[], "")).await;
        assert_eq!(stranger.status, 401, "{line}");
        assert!(stranger.header("www-authenticate").starts_with("Bearer"));
        let wrong = [("authorization", "Bearer 0123456789abcdeF")];
        assert_eq!(
            send(&site, AWAY, request(line, &wrong, "")).await.status,
            401,
            "{line}"
        );
        let rebound = [("host", "evil.example")];
        assert_eq!(
            send(&site, HERE, request(line, &rebound, "")).await.status,
            401,
            "{line}"
        );
    }
    // Without tokens there is none to guess.
    let closed = site_with("");
    let empty = [("authorization", "Bearer ")];
    assert_eq!(
        send(&closed, AWAY, request("GET /v1/node", &empty, ""))
            .await
            .status,
        401
    );
}

#[tokio::test]
async fn the_query_of_sessions_is_checked() {
    let page = ask("GET /v1/sessions?stream=demo&limit=5", &[], "").await;
    assert_eq!(page.json()["next"], "demo+5");
    for query in ["limit=0", "limit=1001", "limit=x", "colour=red"] {
        let answer = ask(&format!("GET /v1/sessions?{query}"), &[], "").await;
        assert_eq!(answer.status, 400, "{query}");
    }
}

#[tokio::test]
async fn health_and_metrics() {
    assert_eq!(ask("GET /livez", &[], "").await.body, "ok\n");
    let ready = ask("GET /readyz", &[], "").await;
    assert_eq!(
        (ready.status, ready.json()["ready"].as_bool()),
        (503, Some(false))
    );
    let metrics = ask("GET /metrics", &[], "").await;
    assert!(
        metrics
            .header("content-type")
            .starts_with("application/openmetrics-text")
    );
    assert!(
        metrics
            .body
            .contains("freshet_stream_viewer_active{stream=\"demo\"} 7")
    );
    assert!(metrics.body.contains("freshet_http_request_served_total"));
}

#[tokio::test]
async fn the_page_is_whole_and_loads_nothing_from_elsewhere() {
    for (path, kind) in [
        ("/", "text/html"),
        ("/style.css", "text/css"),
        ("/app.js", "text/javascript"),
    ] {
        let answer = ask(&format!("GET {path}"), &[], "").await;
        assert_eq!(answer.status, 200);
        assert!(answer.header("content-type").starts_with(kind));
        assert!(
            answer
                .header("content-security-policy")
                .contains("script-src 'self'")
        );
        assert!(
            !answer.body.contains("https://"),
            "{path} names another host"
        );
        assert!(answer.body.len() > 500, "{path} is empty");
    }
    let site = site_with("[srt]\nlisten = \"*:7777\"");
    let page = send(&site, AWAY, request("GET /", &[], "")).await.body;
    assert!(
        page.contains("content=\"7777\""),
        "publishers are sent to the wrong port"
    );
    assert!(page.contains("/app.js") && page.contains("/style.css"));
    let script = page.matches("<script").count();
    assert!(script == 1 && !page.contains(" style=") && !page.contains(" onclick="));
}

#[tokio::test]
async fn a_driver_that_is_gone_is_503_and_the_process_still_lives() {
    let (control, driver) = Control::channel();
    drop(driver);
    let site = Site::new(
        control,
        watch::channel(Arc::new(Config::default())).1,
        no_drain(),
        Desk::default(),
    );
    for line in [
        "GET /v1/streams",
        "GET /readyz",
        "GET /metrics",
        "GET /whep/demo",
    ] {
        let answer = send(&site, HERE, request(line, &[], "")).await;
        assert_eq!(answer.status, 503, "{line}");
        assert_eq!(answer.header("retry-after"), "1", "{line}");
    }
    assert_eq!(
        send(&site, HERE, request("GET /livez", &[], ""))
            .await
            .status,
        200
    );
}

#[tokio::test(start_paused = true)]
async fn many_pages_make_one_list() {
    let (control, mut driver) = Control::channel();
    let asked = Arc::new(AtomicU64::new(0));
    let counter = asked.clone();
    tokio::spawn(async move {
        while let Some(request) = driver.recv().await {
            counter.fetch_add(1, Relaxed);
            answer(request);
        }
    });
    let site = Site::new(
        control,
        watch::channel(Arc::new(Config::default())).1,
        no_drain(),
        Desk::default(),
    );
    for _ in 0..50 {
        send(&site, AWAY, request("GET /v1/streams", &[], "")).await;
    }
    assert_eq!(asked.load(Relaxed), 1);
    tokio::time::advance(Duration::from_secs(1)).await;
    send(&site, AWAY, request("GET /v1/streams", &[], "")).await;
    assert_eq!(asked.load(Relaxed), 2);
}
