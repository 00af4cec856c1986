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

macro_rules! postgres {
    (threads: $($name:ident)*) => {
        mod postgres {
            $(#[tokio::test] async fn $name() {
                let Some(kind) = crate::kinds::postgres(concat!("threads_", stringify!($name))) else { return };
                agentry_testkit::threads::$name(&kind).await;
            })*
        }
    };
}

agentry_testkit::for_each_thread_test!(postgres);

#[tokio::test]
async fn postgres_agrees_with_memory() {
    let Some(kind) = kinds::postgres("threads_agree") else { return };
    agentry_testkit::threads::agrees_with(&kinds::memory(), &kind, 10).await;
}

macro_rules! sqlite {
    (threads: $($name:ident)*) => {
        mod sqlite {
            $(#[tokio::test] async fn $name() {
                agentry_testkit::threads::$name(&crate::kinds::sqlite()).await;
            })*
        }
    };
}

agentry_testkit::for_each_thread_test!(sqlite);

#[tokio::test]
async fn sqlite_agrees_with_memory() {
    agentry_testkit::threads::agrees_with(&kinds::memory(), &kinds::sqlite(), 100).await;
}
