use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use fastrand::Rng;

/// Customers and products on the day the shop opens.
const FIRST_CUSTOMERS: i64 = 25;
const FIRST_PRODUCTS: i64 = 40;

/// How long a window of a metric is.
pub(crate) const WINDOW_SECS: i64 = 10;

/// Steps after which the shop stands still, so that one that runs for months still fits in memory.
pub(crate) const MAX_STEPS: u64 = 2_000_000;

/// The shop after a number of steps. The same seed and the same number give the same shop.
pub(crate) struct Shop {
    pub(crate) seed: u64,
    pub(crate) opened_at: DateTime<Utc>,
    pub(crate) step_time: TimeDelta,
    pub(crate) step: u64,
    pub(crate) customers: Vec<Customer>,
    pub(crate) products: Vec<Product>,
    pub(crate) orders: BTreeMap<i64, Order>,
    /// Orders in the order in which they changed.
    pub(crate) orders_by_change: BTreeSet<(DateTime<Utc>, i64)>,
    /// Deleted orders, by time.
    pub(crate) deleted: BTreeSet<(DateTime<Utc>, i64)>,
    /// What happened to orders, numbered from 1.
    pub(crate) changes: Vec<Change>,
    live_orders: Vec<i64>,
}

pub(crate) struct Customer {
    pub(crate) id: i64,
    pub(crate) version: u64,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) updated_at: DateTime<Utc>,
}

pub(crate) struct Product {
    pub(crate) number: i64,
    pub(crate) version: u64,
    pub(crate) updated_at: DateTime<Utc>,
}

pub(crate) struct Order {
    pub(crate) id: i64,
    pub(crate) customer_id: i64,
    pub(crate) products: i64,
    pub(crate) status: usize,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) updated_at: DateTime<Utc>,
}

pub(crate) struct Change {
    pub(crate) order_id: i64,
    pub(crate) status: &'static str,
    pub(crate) at: DateTime<Utc>,
}

/// What an order goes through; the last one repeats.
pub(crate) const STATUSES: [&str; 5] = ["placed", "paid", "packed", "shipped", "delivered"];

impl Shop {
    /// A shop that opened at `opened_at` and in which something happens every `step_time`.
    pub(crate) fn new(seed: u64, opened_at: DateTime<Utc>, step_time: TimeDelta) -> Self {
        let opened_at = opened_at.trunc_subsecs(0);
        let mut shop = Self {
            seed,
            opened_at,
            step_time,
            step: 0,
            customers: Vec::new(),
            products: Vec::new(),
            orders: BTreeMap::new(),
            orders_by_change: BTreeSet::new(),
            deleted: BTreeSet::new(),
            changes: Vec::new(),
            live_orders: Vec::new(),
        };
        (0..FIRST_CUSTOMERS).for_each(|_| shop.add_customer(opened_at));
        (0..FIRST_PRODUCTS).for_each(|_| shop.add_product(opened_at));
        shop
    }

    /// The time in the shop. Times are whole seconds, so that several things happen in the same one.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        let millis =
            i64::try_from(self.step).unwrap_or(i64::MAX).saturating_mul(self.step_time.num_milliseconds());
        self.opened_at
            .checked_add_signed(TimeDelta::milliseconds(millis))
            .unwrap_or(self.opened_at)
            .trunc_subsecs(0)
    }

    /// Lets `steps` things happen.
    pub(crate) fn advance(&mut self, steps: u64) {
        self.advance_to(self.step.saturating_add(steps));
    }

    /// Lets things happen until there were `step` in all.
    pub(crate) fn advance_to(&mut self, step: u64) {
        while self.step < step.min(MAX_STEPS) {
            self.step += 1;
            self.happen();
        }
    }

    fn happen(&mut self) {
        let mut dice = dice(self.seed, "step", self.step);
        let now = self.now();
        match dice.u8(..100) {
            0..50 => self.place_order(&mut dice, now),
            50..76 => self.change_order(&mut dice, now),
            76..84 => self.delete_order(&mut dice, now),
            84..91 => self.add_customer(now),
            91..95 => {
                let index = dice.usize(..self.customers.len());
                let customer = &mut self.customers[index];
                customer.version += 1;
                customer.updated_at = now;
            }
            95..98 => {
                let index = dice.usize(..self.products.len());
                let product = &mut self.products[index];
                product.version += 1;
                product.updated_at = now;
            }
            _ => self.add_product(now),
        }
    }

    fn add_customer(&mut self, now: DateTime<Utc>) {
        let id = number(self.customers.len()) + 1;
        self.customers.push(Customer { id, version: 1, created_at: now, updated_at: now });
    }

    fn add_product(&mut self, now: DateTime<Utc>) {
        let number = number(self.products.len()) + 1;
        self.products.push(Product { number, version: 1, updated_at: now });
    }

    fn place_order(&mut self, dice: &mut Rng, now: DateTime<Utc>) {
        // Order numbers grow, with gaps as real ones have.
        let id = 1000 + i64::try_from(self.step).unwrap_or(i64::MAX - 1000);
        let order = Order {
            id,
            customer_id: dice.i64(1..=number(self.customers.len())),
            products: number(self.products.len()),
            status: 0,
            created_at: now,
            updated_at: now,
        };
        self.orders.insert(id, order);
        self.orders_by_change.insert((now, id));
        self.live_orders.push(id);
        self.changes.push(Change { order_id: id, status: STATUSES[0], at: now });
    }

    fn change_order(&mut self, dice: &mut Rng, now: DateTime<Utc>) {
        if self.live_orders.is_empty() {
            return self.place_order(dice, now);
        }
        let id = self.live_orders[dice.usize(..self.live_orders.len())];
        if let Some(order) = self.orders.get_mut(&id) {
            self.orders_by_change.remove(&(order.updated_at, id));
            order.status = (order.status + 1).min(STATUSES.len() - 1);
            order.updated_at = now;
            self.orders_by_change.insert((now, id));
            self.changes.push(Change { order_id: id, status: STATUSES[order.status], at: now });
        }
    }

    fn delete_order(&mut self, dice: &mut Rng, now: DateTime<Utc>) {
        if self.live_orders.is_empty() {
            return self.place_order(dice, now);
        }
        let id = self.live_orders.swap_remove(dice.usize(..self.live_orders.len()));
        if let Some(order) = self.orders.remove(&id) {
            self.orders_by_change.remove(&(order.updated_at, id));
            self.deleted.insert((now, id));
            self.changes.push(Change { order_id: id, status: "deleted", at: now });
        }
    }

    /// The number of the last event: one for each step.
    pub(crate) fn last_event(&self) -> u64 {
        self.step
    }

    /// How many windows of metrics have ended.
    pub(crate) fn closed_windows(&self) -> i64 {
        (self.now() - self.opened_at).num_seconds() / WINDOW_SECS
    }

    /// When window `index` starts; the one before ends then.
    pub(crate) fn window_start(&self, index: i64) -> DateTime<Utc> {
        self.opened_at + TimeDelta::seconds(index * WINDOW_SECS)
    }
}

/// Random numbers that depend on these three only.
pub(crate) fn dice(seed: u64, what: &str, number: u64) -> Rng {
    let mut hash = seed ^ 0x9e37_79b9_7f4a_7c15;
    for byte in what.bytes().chain(number.to_le_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        hash ^= hash >> 29;
    }
    Rng::with_seed(hash)
}

fn number(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta};

    use super::Shop;

    fn shop(seed: u64) -> Shop {
        Shop::new(seed, DateTime::UNIX_EPOCH, TimeDelta::milliseconds(250))
    }

    #[test]
    fn a_shop_follows_from_its_seed_and_its_steps() {
        let (mut once, mut often, mut other) = (shop(1), shop(1), shop(2));
        once.advance(2000);
        (0..2000).for_each(|_| often.advance(1));
        other.advance(2000);
        assert_eq!(once.orders_by_change, often.orders_by_change);
        assert_eq!(once.deleted, often.deleted);
        assert_ne!(once.deleted, other.deleted);
    }

    #[test]
    fn several_things_happen_in_the_same_second_and_every_kind_of_thing_happens() {
        let mut shop = shop(7);
        shop.advance(2000);
        let seconds: std::collections::BTreeSet<_> = shop.orders_by_change.iter().map(|(at, _)| at).collect();
        assert!(seconds.len() < shop.orders.len());
        assert_eq!(shop.orders_by_change.len(), shop.orders.len());
        assert!(shop.deleted.len() > 50 && shop.customers.len() > 50 && shop.products.len() > 50);
        assert!(shop.customers.iter().any(|c| c.version > 1) && shop.products.iter().any(|p| p.version > 1));
        assert_eq!(shop.closed_windows(), 50);
        assert!(shop.deleted.iter().all(|(_, id)| !shop.orders.contains_key(id)));
    }
}
