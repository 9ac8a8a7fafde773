//! One port answers whatever a client speaks.

use headwater_testkit::simulator::{CA_PATH, Settings, Simulator};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::simulator_client::{ask, exchange, get, load, start, tls};

const ENDPOINTS: &str = "
endpoints:
  - path: /v2/{harbour}/ships
    corpus: ships
    params: {page: page, per_page: {role: per_page, default: 2}}
    response: {pagination_style: page_number_with_link_header}
";

fn simulator() -> Simulator {
    start(ENDPOINTS, &[("ships", json!([{"id": 1}, {"id": 2}, {"id": 3}]))])
}

#[tokio::test]
async fn the_path_is_matched_and_the_host_is_not() {
    let simulator = simulator();
    let got = ask(&simulator, "GET /v2/lisbon/ships", "Host: api.ships.example\r\n", "").await;
    assert_eq!((got.status, got.all("id")), (200, vec![json!(1), json!(2)]));
    let next = "<http://api.ships.example/v2/lisbon/ships?page=2>; rel=\"next\", \
                <http://api.ships.example/v2/lisbon/ships?page=2>; rel=\"last\"";
    assert_eq!(got.header("link"), Some(next));
}

#[tokio::test]
async fn as_a_proxy_it_takes_whole_urls() {
    let simulator = simulator();
    let got =
        ask(&simulator, "GET http://other.example/v2/porto/ships?page=2", "Host: other.example\r\n", "")
            .await;
    assert_eq!((got.status, got.all("id")), (200, vec![json!(3)]));
    assert_eq!(simulator.control().requests()[0].host, "other.example");
}

#[tokio::test]
async fn tls_is_spoken_under_the_name_that_is_asked_for() {
    let simulator = simulator();
    for name in ["api.ships.example", "localhost"] {
        let stream = TcpStream::connect(simulator.address()).await.unwrap();
        let stream = tls(&simulator, stream, name).await;
        let got = exchange(stream, "GET /v2/porto/ships", &format!("Host: {name}\r\n"), "").await.unwrap();
        assert_eq!(got.status, 200);
        assert!(got.header("link").unwrap().starts_with(&format!("<https://{name}/v2/porto/ships?page=2>")));
    }
}

#[tokio::test]
async fn a_tunnel_leads_back_to_the_simulator() {
    let simulator = simulator();
    let mut stream = TcpStream::connect(simulator.address()).await.unwrap();
    let connect = "CONNECT api.ships.example:443 HTTP/1.1\r\nHost: api.ships.example:443\r\n\r\n";
    stream.write_all(connect.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    let stream = tls(&simulator, stream, "api.ships.example").await;
    let got = exchange(stream, "GET /v2/porto/ships", "Host: api.ships.example\r\n", "").await.unwrap();
    assert_eq!(got.status, 200);
    let seen = simulator.control().requests();
    assert_eq!((seen.len(), seen[0].host.as_str()), (1, "api.ships.example"));
}

#[tokio::test]
async fn the_authority_is_given_and_not_counted() {
    let simulator = simulator();
    let got = get(&simulator, CA_PATH).await;
    assert_eq!(String::from_utf8(got.body).unwrap(), simulator.certificate_pem());
    assert_eq!(simulator.control().request_count(), 0);
}

#[tokio::test]
async fn nonsense_on_the_wire_harms_nobody_else() {
    let simulator = simulator();
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(1 << 20));
    let tunnel = "CONNECT somewhere HTTP/1.1\r\n\r\n\u{16}\u{3}\u{1}nonsense";
    for sent in [
        "\u{0}\u{1}\u{2}\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{0}nonsense of TLS",
        "GET\r\n\r\n",
        long.as_str(),
        tunnel,
    ] {
        let mut stream = TcpStream::connect(simulator.address()).await.unwrap();
        // It may be closed before all of it is written.
        let _written = stream.write_all(sent.as_bytes()).await;
        let _shut = stream.shutdown().await;
        let _ended = stream.read_to_end(&mut Vec::new()).await;
    }
    assert_eq!(get(&simulator, "/v2/porto/ships").await.status, 200);
}

#[tokio::test]
async fn dropped_it_stops_and_its_port_is_free() {
    let simulator = simulator();
    let address = simulator.address();
    let mut open = TcpStream::connect(address).await.unwrap();
    get(&simulator, "/v2/porto/ships").await;
    drop(simulator);
    // The open connection ends, whether in order or not.
    let _ended = open.read_to_end(&mut Vec::new()).await;
    let settings = Settings { port: address.port(), ..Settings::default() };
    let description = load(ENDPOINTS, &[("ships", json!([]))]);
    let again = Simulator::start(description, settings).unwrap();
    assert_eq!(get(&again, "/v2/porto/ships").await.json(), json!([]));
}
