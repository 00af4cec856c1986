//! Stores of threads against their contract.

use crate::kinds;

macro_rules! memory {
    (threads: $($name:ident)*) => {
        mod memory {
            $(#[tokio::test] async fn $name() {
                agentry_testkit::threads::$name(&crate::kinds::memory()).await;
            })*
        }
    };
}

agentry_testkit::for_each_thread_test!(memory);

/// The suite's own commands mean the same twice.
#[tokio::test]
async fn memory_agrees_with_itself() {
    agentry_testkit::threads::agrees_with(&kinds::memory(), &kinds::memory(), 50).await;
}
