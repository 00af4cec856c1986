//! Every store against the contract of each port.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use agentry_testkit::on_every_kind;

mod kinds;
mod sealed;
mod server;
mod threads;

agentry_testkit::for_each_assistants_test!(on_every_kind);
agentry_testkit::for_each_batches_test!(on_every_kind);
agentry_testkit::for_each_crons_test!(on_every_kind);
agentry_testkit::for_each_idempotency_test!(on_every_kind);
agentry_testkit::for_each_items_test!(on_every_kind);
agentry_testkit::for_each_key_test!(on_every_kind);
agentry_testkit::for_each_ledger_test!(on_every_kind);
