//! Implements the ports: sources, targets and stores.
