use std::collections::BTreeSet;

use super::*;

#[test]
fn six_consecutive_seeds_break_six_services() {
    for fault in Fault::ALL {
        for first in [0, 1, 1_000_003, u64::MAX - 5] {
            let broken: BTreeSet<Service> =
                (0..6).map(|step| victim(fault, first + step)).collect();
            assert_eq!(broken, Service::VICTIMS.into_iter().collect(), "{fault} from {first}");
        }
    }
}

#[test]
fn one_seed_breaks_different_services_with_different_faults() {
    let broken: BTreeSet<Service> = Fault::ALL.into_iter().map(|fault| victim(fault, 1)).collect();
    assert_eq!(broken.len(), 6);
}

#[test]
fn names_are_read_back() {
    for fault in Fault::ALL {
        assert_eq!(fault.name().parse(), Ok(fault));
        assert_eq!(serde_json::to_value(fault).unwrap(), fault.name());
    }
    for service in Service::ALL {
        assert_eq!(service.name().parse(), Ok(service));
        assert_eq!(serde_json::to_value(service).unwrap(), service.name());
    }
    assert_eq!(
        "fire".parse::<Fault>().unwrap_err().to_string(),
        "`fire` is not one of cpu, latency, bad-deploy, leak, hang, none"
    );
}

#[test]
fn callees_start_before_their_callers() {
    let place = |service: &Service| Service::ALL.iter().position(|other| other == service);
    for caller in Service::ALL {
        for callee in caller.calls() {
            assert!(place(callee) < place(&caller), "{caller} calls {callee}");
            assert!(
                callee.patience() < caller.patience() || caller == Service::Shopper,
                "{caller} calls {callee}"
            );
        }
    }
}
