//! The incident agent: alerts to incidents to evidence to diagnosis to approved action.
