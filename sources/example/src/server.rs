use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use headwater_connect::{Clock, Secret, SystemClock};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::records;
use crate::shop::{Shop, WINDOW_SECS, dice};

/// The most rows of one page.
const MAX_LIMIT: usize = 1000;

/// The longest time that one request for metrics may span.
const MAX_METRICS_SPAN: TimeDelta = TimeDelta::hours(1);

/// A request that has failed so often in a row is answered, so that bounded retries always get through.
const MAX_FAULTS_IN_A_ROW: u32 = 2;

/// Requests whose faults are remembered.
const MAX_REMEMBERED: usize = 100_000;

/// How the shop is, and how badly it behaves.
#[derive(Debug, Clone, PartialEq)]
pub struct ExampleOptions {
    /// Decides everything that looks random.
    pub seed: u64,
    /// Things that have happened in the shop when the server starts; about half of them are orders.
    pub steps: u64,
    /// Things that happen with each request that is answered.
    pub steps_per_request: u64,
    /// The time of the shop's opening, for a shop that goes on by the clock from there: a step every two seconds, on
    /// top of `steps`. Without it, nothing happens by itself.
    pub opened_at: Option<DateTime<Utc>>,
    /// Share of requests, from 0 to 1, that are answered with status 500.
    pub error_rate: f64,
    /// Share of requests that are answered with status 429 and `Retry-After`.
    pub throttle_rate: f64,
    /// Share of requests whose answer breaks off in the middle.
    pub truncate_rate: f64,
    /// What `Retry-After` says, in seconds.
    pub retry_after_secs: u64,
    /// How long each answer takes.
    pub latency: Duration,
    /// The token that each request must bring.
    pub token: Option<Secret>,
}

impl Default for ExampleOptions {
    fn default() -> Self {
        Self {
            seed: 1,
            steps: 1000,
            steps_per_request: 0,
            opened_at: None,
            error_rate: 0.0,
            throttle_rate: 0.0,
            truncate_rate: 0.0,
            retry_after_secs: 0,
            latency: Duration::ZERO,
            token: None,
        }
    }
}

impl ExampleOptions {
    fn shop(&self) -> Shop {
        let first_day = DateTime::UNIX_EPOCH + TimeDelta::days(19_723);
        let (opened_at, step_time) = match self.opened_at {
            // The steps before the opening lie before it in time as well.
            Some(at) => {
                let step = TimeDelta::seconds(2);
                let steps = i32::try_from(self.steps).unwrap_or(i32::MAX);
                (at.checked_sub_signed(step * steps).unwrap_or(at), step)
            }
            None => (first_day, TimeDelta::milliseconds(250)),
        };
        let mut shop = Shop::new(self.seed, opened_at, step_time);
        shop.advance(self.steps);
        shop
    }
}

/// Why the server could not be started.
#[derive(Debug, thiserror::Error)]
#[error("the example shop's server cannot be started")]
pub struct ServerError(#[from] std::io::Error);

/// A running shop on a free port of the loopback interface. Dropping it ends it.
///
/// The server has a thread and a runtime of its own, so that it can be started anywhere and outlives the runtime of
/// whoever started it.
#[derive(Debug)]
pub struct ExampleServer {
    address: SocketAddr,
    state: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    options: ExampleOptions,
    shop: Mutex<Shop>,
    /// Faults in a row, by request.
    faults: Mutex<HashMap<String, (u64, u32)>>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("options", &self.options).finish_non_exhaustive()
    }
}

impl ExampleServer {
    /// Starts a shop.
    ///
    /// # Errors
    /// No port, thread or runtime could be had.
    pub fn start(options: ExampleOptions) -> Result<Self, ServerError> {
        Self::start_with_clock(options, Arc::new(SystemClock))
    }

    /// Starts a shop that reads the time from `clock`.
    ///
    /// # Errors
    /// As [`ExampleServer::start`].
    pub fn start_with_clock(options: ExampleOptions, clock: Arc<dyn Clock>) -> Result<Self, ServerError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let shop = Mutex::new(options.shop());
        let state = Arc::new(Shared { options, shop, faults: Mutex::default(), clock });
        let (stop, stopped) = oneshot::channel();
        let router = router(Arc::clone(&state));
        let serve = async move {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            tokio::select! {
                served = axum::serve(listener, router) => served,
                // Stopped or dropped: either way it is over.
                _ = stopped => Ok(()),
            }
        };
        let thread = std::thread::Builder::new().name("example-shop".into()).spawn(move || {
            if let Err(error) = runtime.block_on(serve) {
                tracing::error!(%error, "the example shop's server ended");
            }
        })?;
        Ok(Self { address, state, stop: Some(stop), thread: Some(thread) })
    }

    /// Where the shop answers.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Lets `steps` things happen in the shop.
    pub fn advance(&self, steps: u64) {
        self.state.shop().advance(steps);
    }

    /// What `table` must hold after everything has been read: one row for each key, or each row once in a table
    /// that is appended to. `None` where there is no such table.
    pub fn truth(&self, table: &str) -> Option<Vec<Value>> {
        truth(&self.state.shop(), table)
    }
}

impl Drop for ExampleServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the server has been printed by its thread already.
            let _ended = thread.join();
        }
    }
}

impl Shared {
    fn shop(&self) -> MutexGuard<'_, Shop> {
        self.shop.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets happen what is due at this request.
    fn grow(&self) {
        let mut shop = self.shop();
        shop.advance(self.options.steps_per_request);
        if self.options.opened_at.is_some() {
            let open =
                (self.clock.now() - shop.opened_at).num_milliseconds() / shop.step_time.num_milliseconds();
            shop.advance_to(u64::try_from(open).unwrap_or_default());
        }
    }

    /// Decides whether this request fails. The same requests in the same order fail in every run.
    fn fault(&self, request: &str) -> Option<Fault> {
        let options = &self.options;
        if options.error_rate + options.throttle_rate + options.truncate_rate <= 0.0 {
            return None;
        }
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        if faults.len() > MAX_REMEMBERED {
            faults.clear();
        }
        let (count, in_a_row) = faults.entry(request.to_owned()).or_default();
        *count += 1;
        let drawn = dice(self.options.seed, request, *count).f64();
        let mut below = 0.0;
        let kinds = [
            (self.options.error_rate, Fault::Error),
            (self.options.throttle_rate, Fault::Throttle),
            (self.options.truncate_rate, Fault::Truncate),
        ];
        let fault = kinds.into_iter().find_map(|(rate, fault)| {
            below += rate;
            (drawn < below).then_some(fault)
        });
        match fault {
            Some(_) if *in_a_row < MAX_FAULTS_IN_A_ROW => *in_a_row += 1,
            _ => {
                *in_a_row = 0;
                return None;
            }
        }
        fault
    }
}

#[derive(Clone, Copy)]
enum Fault {
    Error,
    Throttle,
    Truncate,
}

fn router(state: Arc<Shared>) -> Router {
    Router::new()
        .route("/status", get(status))
        .route("/customers", get(customers))
        .route("/categories", get(categories))
        .route("/products", get(products))
        .route("/orders", get(orders))
        .route("/orders/deleted", get(deleted_orders))
        .route("/changes", get(changes))
        .route("/events", get(events))
        .route("/metrics", get(metrics))
        .route("/stock", get(stock))
        .layer(from_fn_with_state(Arc::clone(&state), misbehave))
        .route("/_advance", post(advance))
        .route("/_truth/{table}", get(get_truth))
        .fallback(|| async { refuse(StatusCode::NOT_FOUND, "there is no such resource") })
        .with_state(state)
}

/// Checks the token, lets the shop go on, and fails some requests.
async fn misbehave(State(state): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    if let Some(token) = &state.options.token {
        let expected = format!("Bearer {}", token.expose());
        let given = request.headers().get(header::AUTHORIZATION);
        if given.is_none_or(|given| given.as_bytes() != expected.as_bytes()) {
            return refuse(StatusCode::UNAUTHORIZED, "the token is missing or wrong");
        }
    }
    tokio::time::sleep(state.options.latency).await;
    state.grow();
    match state.fault(&request.uri().to_string()) {
        None => next.run(request).await,
        Some(Fault::Error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "something went wrong here"),
        Some(Fault::Throttle) => {
            let after = [(header::RETRY_AFTER, state.options.retry_after_secs.to_string())];
            (after, refuse(StatusCode::TOO_MANY_REQUESTS, "too many requests")).into_response()
        }
        Some(Fault::Truncate) => truncated(next.run(request).await).await,
    }
}

/// Promises the whole body, sends half of it, and hangs up.
async fn truncated(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    parts.headers.insert(header::CONTENT_LENGTH, body.len().into());
    let half = Ok(body.slice(..body.len() / 2));
    let broken = Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
    Response::from_parts(parts, Body::from_stream(futures::stream::iter([half, broken])))
}

fn refuse(status: StatusCode, message: &str) -> Response {
    (status, axum::Json(json!({"error": {"status": status.as_u16(), "message": message}}))).into_response()
}

/// What the requests of the shop may ask for; each looks at its own.
#[derive(Deserialize)]
struct Ask {
    limit: Option<usize>,
    page: Option<usize>,
    cursor: Option<String>,
    category: Option<String>,
    since: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
    from: Option<DateTime<Utc>>,
    to: Option<DateTime<Utc>>,
    after: Option<u64>,
    up_to: Option<u64>,
    steps: Option<u64>,
}

impl Ask {
    fn limit(&self) -> usize {
        self.limit.unwrap_or(100).clamp(1, MAX_LIMIT)
    }
}

type Asked = Result<Query<Ask>, axum::extract::rejection::QueryRejection>;

/// Answers with what `answer` makes of the shop, or with what is wrong with the question.
fn answer(
    state: &Shared,
    asked: Asked,
    answer: impl FnOnce(&Shop, &Ask) -> Result<Response, String>,
) -> Response {
    let asked = match asked {
        Ok(Query(asked)) => asked,
        Err(rejected) => return refuse(StatusCode::BAD_REQUEST, &rejected.body_text()),
    };
    answer(&state.shop(), &asked).unwrap_or_else(|what| refuse(StatusCode::BAD_REQUEST, &what))
}

fn json_page(data: Vec<Value>, more: Value) -> Response {
    let mut page = json!({"data": data});
    if let (Value::Object(page), Value::Object(more)) = (&mut page, more) {
        page.extend(more);
    }
    axum::Json(page).into_response()
}

async fn status(State(state): State<Arc<Shared>>) -> Response {
    axum::Json(shown_status(&state.shop())).into_response()
}

fn shown_status(shop: &Shop) -> Value {
    json!({
        "now": records::text(shop.now()),
        "opened_at": records::text(shop.opened_at),
        "last_event": shop.last_event(),
        "last_change": shop.changes.len(),
        "metrics_until": records::text(shop.window_start(shop.closed_windows())),
        "steps": shop.step,
    })
}

async fn customers(State(state): State<Arc<Shared>>, asked: Asked) -> Response {
    answer(&state, asked, |shop, asked| {
        let (page, limit) = (asked.page.unwrap_or(1), asked.limit());
        if page == 0 {
            return Err("pages are numbered from 1".into());
        }
        let pages = shop.customers.len().div_ceil(limit);
        let rows = shop.customers.iter().skip((page - 1).saturating_mul(limit)).take(limit);
        let data = rows.map(|customer| records::customer(shop, customer)).collect();
        Ok(json_page(data, json!({"page": page, "pages": pages})))
    })
}

async fn categories(State(_state): State<Arc<Shared>>) -> Response {
    axum::Json(json!({"data": records::CATEGORIES})).into_response()
}

async fn products(State(state): State<Arc<Shared>>, asked: Asked) -> Response {
    answer(&state, asked, |shop, asked| {
        let after = match asked.cursor.as_deref() {
            None => 0,
            Some(cursor) => cursor.parse().map_err(|_| format!("cursor `{cursor}` is not one of ours"))?,
        };
        let of_category = |number| asked.category.as_deref().is_none_or(|c| records::category(number) == c);
        let mut rows = shop.products.iter().filter(|p| p.number > after && of_category(p.number));
        let page: Vec<_> = rows.by_ref().take(asked.limit()).collect();
        let next = rows.next().and(page.last()).map(|product| product.number.to_string());
        let data = page.into_iter().map(|product| records::product(shop, product)).collect();
        Ok(json_page(data, json!({"next_cursor": next})))
    })
}

type ChangeKey = (DateTime<Utc>, i64);

/// The part of `keys` that is asked for (both times inclusive), and the cursor of the next page.
fn changed<'a>(
    keys: &'a std::collections::BTreeSet<ChangeKey>,
    asked: &Ask,
) -> Result<(Vec<&'a ChangeKey>, Option<String>), String> {
    use std::ops::Bound::{Excluded, Included, Unbounded};
    let start = match (&asked.cursor, asked.since) {
        (Some(cursor), _) => {
            let parts = cursor.split_once('.');
            let numbers = parts.and_then(|(at, id)| Some((at.parse().ok()?, id.parse().ok()?)));
            let key = numbers.and_then(|(at, id)| Some((DateTime::from_timestamp(at, 0)?, id)));
            Excluded(key.ok_or_else(|| format!("cursor `{cursor}` is not one of ours"))?)
        }
        (None, Some(since)) => Included((since, i64::MIN)),
        (None, None) => Unbounded,
    };
    let until = asked.until;
    let mut rows =
        keys.range((start, Unbounded)).take_while(|(at, _)| until.is_none_or(|until| *at <= until));
    let page: Vec<_> = rows.by_ref().take(asked.limit()).collect();
    let next = rows.next().and(page.last()).map(|(at, id)| format!("{}.{id}", at.timestamp()));
    Ok((page, next))
}

async fn orders(State(state): State<Arc<Shared>>, asked: Asked) -> Response {
    answer(&state, asked, |shop, asked| {
        let (keys, next) = changed(&shop.orders_by_change, asked)?;
        let rows = keys.into_iter().filter_map(|(_, id)| shop.orders.get(id));
        let data = rows.map(|order| records::order(shop, order)).collect();
        Ok(json_page(data, json!({"next_cursor": next})))
    })
}

async fn deleted_orders(State(state): State<Arc<Shared>>, asked: Asked) -> Response {
    answer(&state, asked, |shop, asked| {
        let (keys, next) = changed(&shop.deleted, asked)?;
        let data = keys.into_iter().map(|(at, id)| records::deletion(*id, *at)).collect();
        Ok(json_page(data, json!({"next_cursor": next})))
    })
}

async fn changes(State(state): State<Arc<Shared>>, asked: Asked) -> Response {
    answer(&state, asked, |shop, asked| {
        let after = usize::try_from(asked.after.unwrap_or(0)).unwrap_or(usize::MAX);
        let up_to = asked.up_to.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
        let end = up_to.min(shop.changes.len());
        let rows = shop.changes.iter().enumerate().take(end).skip(after).take(asked.limit());
        let data: Vec<Value> = rows.map(|(index, change)| records::change(index + 1, change)).collect();
        let last = data.last().and_then(|row| row.get("seq")).and_then(Value::as_u64);
        let more = last.is_some_and(|seq| seq < end as u64);
        let next = last.filter(|_| more);
        Ok(axum::Json(json!({"result": {"changes": data, "next_after": next}})).into_response())
    })
}

async fn events(State(state): State<Arc<Shared>>, asked: Asked) -> Response {
    answer(&state, asked, |shop, asked| {
        let first = asked.after.unwrap_or(0).saturating_add(1);
        let last = asked.up_to.unwrap_or(u64::MAX).min(shop.last_event());
        let data: Vec<Value> =
            (first..=last).take(asked.limit()).map(|id| records::event(shop, id)).collect();
        let reached = first.saturating_add(data.len() as u64) - 1;
        let next = (reached < last && !data.is_empty()).then_some(reached);
        Ok(json_page(data, json!({"next_after": next})))
    })
}

/// Lines of JSON: the metrics of the windows that start in a stretch of time (its end exclusive) and have ended.
async fn metrics(State(state): State<Arc<Shared>>, asked: Asked) -> Response {
    answer(&state, asked, |shop, asked| {
        let (Some(from), Some(to)) = (asked.from, asked.to) else {
            return Err("`from` and `to` are required".into());
        };
        if to - from > MAX_METRICS_SPAN {
            return Err("at most one hour can be asked for".into());
        }
        let index = |at: DateTime<Utc>| {
            let secs = (at - shop.opened_at).num_seconds();
            (secs + WINDOW_SECS - 1).div_euclid(WINDOW_SECS)
        };
        let windows = index(from).max(0)..index(to).min(shop.closed_windows());
        let lines = windows.flat_map(|window| records::metrics(shop, window)).map(|row| format!("{row}\n"));
        let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
        Ok((kind, lines.collect::<String>()).into_response())
    })
}

async fn stock(State(state): State<Arc<Shared>>, headers: HeaderMap, asked: Asked) -> Response {
    answer(&state, asked, |shop, asked| {
        let (page, limit) = (asked.page.unwrap_or(0), asked.limit());
        let products = shop.products.iter().skip(page.saturating_mul(limit)).take(limit);
        let data: Vec<Value> = products.flat_map(|product| records::stock(shop, product)).collect();
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
        let mut response = axum::Json(data).into_response();
        if page.saturating_add(1).saturating_mul(limit) < shop.products.len() {
            let next = format!("<http://{host}/stock?page={}&limit={limit}>; rel=\"next\"", page + 1);
            if let Ok(next) = next.try_into() {
                response.headers_mut().insert(header::LINK, next);
            }
        }
        Ok(response)
    })
}

async fn advance(State(state): State<Arc<Shared>>, asked: Asked) -> Response {
    let Ok(Query(asked)) = asked else {
        return refuse(StatusCode::BAD_REQUEST, "`steps` must be a number");
    };
    let mut shop = state.shop();
    shop.advance(asked.steps.unwrap_or(1));
    axum::Json(shown_status(&shop)).into_response()
}

async fn get_truth(State(state): State<Arc<Shared>>, Path(table): Path<String>) -> Response {
    // Streamed row by row: the whole of it may be large.
    let rows = truth(&state.shop(), &table);
    let Some(rows) = rows else { return refuse(StatusCode::NOT_FOUND, "there is no such table") };
    let lines = rows.into_iter().map(|row| Ok::<_, Infallible>(Bytes::from(format!("{row}\n"))));
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    (kind, Body::from_stream(futures::stream::iter(lines))).into_response()
}

fn truth(shop: &Shop, table: &str) -> Option<Vec<Value>> {
    Some(match table {
        "customers" => shop.customers.iter().map(|row| records::customer(shop, row)).collect(),
        "products" => shop.products.iter().map(|row| records::product(shop, row)).collect(),
        "orders" => shop.orders.values().map(|row| records::order(shop, row)).collect(),
        "order_changes" => {
            let mut last = std::collections::BTreeMap::new();
            for (index, change) in shop.changes.iter().enumerate() {
                last.insert(change.order_id, records::change_row(index + 1, change));
            }
            last.into_values().collect()
        }
        "events" => (1..=shop.last_event()).map(|id| records::event(shop, id)).collect(),
        "metrics" => (0..shop.closed_windows()).flat_map(|window| records::metrics(shop, window)).collect(),
        "stock" => shop.products.iter().flat_map(|product| records::stock(shop, product)).collect(),
        _ => return None,
    })
}
