use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use fastrand::Rng;
use serde_json::{Map, Value, json};

use crate::shop::{Change, Customer, Order, Product, STATUSES, Shop, WINDOW_SECS, dice};

/// The shelves of the shop.
pub(crate) const CATEGORIES: [&str; 5] = ["books", "garden", "kitchen", "music", "toys & games"];

/// Where things lie.
pub(crate) const WAREHOUSES: [&str; 2] = ["north", "south"];

/// What is measured.
pub(crate) const METRICS: [&str; 3] = ["orders", "revenue", "visitors"];

const FIRST_NAMES: [&str; 12] = [
    "Ada", "Bjørn", "Chloé", "Dmitri", "Εlena", "Fatima", "Giánnis", "Hana", "İlker", "Jürgen", "Kenji",
    "李娜",
];
const LAST_NAMES: [&str; 10] = [
    "Åkesson",
    "Brown",
    "Çelik",
    "Dvořák",
    "Eze",
    "Fernández",
    "García-Müller",
    "O'Hara",
    "de la Cruz",
    "山田",
];
const CITIES: [&str; 8] = ["Zürich", "São Paulo", "Kraków", "Reykjavík", "Ürümqi", "Boston", "東京", "Αθήνα"];
const WORDS: [&str; 12] = [
    "Lamp",
    "Atlas",
    "Teapot",
    "Drum",
    "Café set",
    "Seeds \"Spring\"",
    "Puzzle",
    "Knife\\Board",
    "Score",
    "Lantern",
    "Kite",
    "Globe",
];
const NOTES: [&str; 6] = [
    "Leave at the door",
    "ring twice\nthen call",
    "🎁 gift wrap, please",
    "tab\there, quote \" there",
    "naïve coöperation — déjà vu",
    "",
];

pub(crate) fn text(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn money(cents: u64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

fn pick<'a>(dice: &mut Rng, from: &[&'a str]) -> &'a str {
    from.get(dice.usize(..from.len())).copied().unwrap_or_default()
}

fn unsigned(id: i64) -> u64 {
    u64::try_from(id).unwrap_or_default()
}

pub(crate) fn customer(shop: &Shop, customer: &Customer) -> Value {
    let id = unsigned(customer.id);
    let mut fixed = dice(shop.seed, "customer", id);
    let (first, last) = (pick(&mut fixed, &FIRST_NAMES), pick(&mut fixed, &LAST_NAMES));
    let born = DateTime::UNIX_EPOCH.date_naive() + TimeDelta::days(fixed.i64(-9000..13_000));
    // What changes with each version of the customer.
    let mut varied = dice(shop.seed ^ customer.version, "customer", id);
    let mut attributes = Map::new();
    for key in ["language", "channel", "segment"] {
        if varied.bool() {
            let value = if varied.u8(..5) == 0 { Value::Null } else { json!(pick(&mut varied, &WORDS)) };
            attributes.insert(key.into(), value);
        }
    }
    let tags: Vec<&str> = (0..varied.usize(..4)).map(|_| pick(&mut varied, &CATEGORIES)).collect();
    json!({
        "id": customer.id,
        "name": format!("{first} {last}"),
        "email": (fixed.u8(..4) > 0).then(|| format!("customer{id}@shop.example")),
        "vip": varied.bool(),
        "birthday": (fixed.u8(..5) > 0).then(|| born.to_string()),
        "credit_limit": money(varied.u64(0..1_000_000)),
        "address": (varied.u8(..10) > 0).then(|| json!({
            "street": format!("{} {}", pick(&mut varied, &WORDS), varied.u16(1..300)),
            "city": pick(&mut varied, &CITIES),
            "geo": (varied.u8(..3) > 0).then(|| json!({
                "lat": f64::from(varied.i32(-90_000..90_000)) / 1000.0,
                "lon": f64::from(varied.i32(-180_000..180_000)) / 1000.0,
            })),
        })),
        "tags": tags,
        "attributes": attributes,
        "created_at": text(customer.created_at),
        "updated_at": text(customer.updated_at),
    })
}

/// The shelf of product `number`; it never changes.
pub(crate) fn category(number: i64) -> &'static str {
    let index = usize::try_from(number).unwrap_or_default() % CATEGORIES.len();
    CATEGORIES.get(index).copied().unwrap_or_default()
}

pub(crate) fn sku(number: i64) -> String {
    format!("P-{number:05}")
}

fn price_cents(shop: &Shop, number: i64, version: u64) -> u64 {
    dice(shop.seed ^ version, "price", unsigned(number)).u64(99..50_000)
}

pub(crate) fn product(shop: &Shop, product: &Product) -> Value {
    let mut dice = dice(shop.seed, "product", unsigned(product.number));
    let name = format!("{} {}", pick(&mut dice, &WORDS), product.number);
    let thumbnail = ["aGVhZHdhdGVy", "AAECAwQF/w==", ""];
    json!({
        "sku": sku(product.number),
        "category": category(product.number),
        "name": name,
        "price": money(price_cents(shop, product.number, product.version)),
        "weight_grams": dice.u32(10..30_000),
        "rating": (dice.u8(..4) > 0).then(|| f32::from(dice.u8(10..=50)) / 10.0),
        "dimensions": {"width_cm": dice.u8(1..200), "height_cm": dice.u8(1..200), "depth_cm": null},
        "active": dice.u8(..10) > 0,
        "thumbnail": (dice.u8(..3) > 0).then(|| pick(&mut dice, &thumbnail)),
        "updated_at": text(product.updated_at),
    })
}

pub(crate) fn order(shop: &Shop, order: &Order) -> Value {
    let mut dice = dice(shop.seed, "order", unsigned(order.id));
    let mut total = 0;
    let lines: Vec<Value> = (0..dice.u8(1..5))
        .map(|_| {
            let number = dice.i64(1..=order.products);
            let (quantity, cents) = (dice.u64(1..6), price_cents(shop, number, 1));
            total += quantity * cents;
            json!({"sku": sku(number), "quantity": quantity, "unit_price": money(cents)})
        })
        .collect();
    json!({
        "id": order.id,
        "customer_id": order.customer_id,
        "status": STATUSES.get(order.status),
        "lines": lines,
        "total": money(total),
        "express": dice.bool(),
        "note": (dice.u8(..2) > 0).then(|| pick(&mut dice, &NOTES)),
        "created_at": text(order.created_at),
        "updated_at": text(order.updated_at),
    })
}

/// A deleted order: its key, and the time of the deletion where the time of the last change was.
pub(crate) fn deletion(id: i64, at: DateTime<Utc>) -> Value {
    json!({"id": id, "updated_at": text(at)})
}

/// Change `seq` as the source tells it.
pub(crate) fn change(seq: usize, change: &Change) -> Value {
    json!({
        "seq": seq,
        "order": {"id": change.order_id, "status": change.status},
        "at": text(change.at),
    })
}

/// Change `seq` as the table holds it.
pub(crate) fn change_row(seq: usize, change: &Change) -> Value {
    json!({"order_id": change.order_id, "seq": seq, "status": change.status, "changed_at": text(change.at)})
}

pub(crate) fn event(shop: &Shop, id: u64) -> Value {
    let mut dice = dice(shop.seed, "event", id);
    let kind = pick(&mut dice, &["view", "search", "basket", "login"]);
    let millis = i64::try_from(id).unwrap_or_default().saturating_mul(shop.step_time.num_milliseconds());
    let at = shop.opened_at + TimeDelta::milliseconds(millis);
    let payload = match kind {
        "view" => json!({"sku": sku(dice.i64(1..=40)), "seconds": dice.f64() * 300.0}),
        "search" => json!({"text": pick(&mut dice, &WORDS), "hits": dice.u8(..)}),
        "basket" => json!([{"sku": sku(dice.i64(1..=40)), "n": 1}, null, "gift"]),
        _ => json!(dice.bool()),
    };
    json!({
        "id": id,
        "at": at.to_rfc3339_opts(SecondsFormat::Millis, true),
        "kind": kind,
        "visitor": dice.i64(..),
        "customer_id": (dice.u8(..3) > 0).then(|| dice.i64(1..=25)),
        "path": (0..dice.usize(..4)).map(|_| pick(&mut dice, &CATEGORIES)).collect::<Vec<_>>(),
        "payload": payload,
    })
}

/// The metrics of window `index`.
pub(crate) fn metrics(shop: &Shop, index: i64) -> Vec<Value> {
    let start = shop.window_start(index);
    let one = |(position, name): (usize, &&str)| {
        let mut dice = dice(shop.seed, name, unsigned(index));
        let count = dice.u32(..1000);
        json!({
            "name": name,
            "window_start": text(start),
            "window_end": text(start + TimeDelta::seconds(WINDOW_SECS)),
            "count": count,
            "value": f64::from(count) * (dice.f64() + position as f64),
            "quantiles": [dice.f64(), null, dice.f64() + 1.0],
            "labels": {"site": pick(&mut dice, &CITIES), "unit": if *name == "revenue" { "EUR" } else { "1" }},
        })
    };
    METRICS.iter().enumerate().map(one).collect()
}

/// The stock of product `number` in each warehouse.
pub(crate) fn stock(shop: &Shop, product: &Product) -> Vec<Value> {
    let one = |warehouse: &&str| {
        let mut dice = dice(shop.seed ^ product.version, warehouse, unsigned(product.number));
        json!({
            "warehouse": warehouse,
            "sku": sku(product.number),
            "quantity": dice.u16(..500),
            "shelf": (dice.u8(..5) > 0).then(|| format!("{}-{}", dice.alphabetic().to_ascii_uppercase(), dice.u8(1..90))),
            "counted_on": (dice.u8(..5) > 0).then(|| product.updated_at.date_naive().to_string()),
        })
    };
    WAREHOUSES.iter().map(one).collect()
}
