//! Provisioned pollers of queues.

use super::*;

/// <https://docs.aws.amazon.com/lambda/latest/api/API_ProvisionedPollerConfig.html>
#[test]
fn the_pollers_of_a_queue_can_be_provisioned() {
    let provisioned = |config| spec(QUEUE, json!({"ProvisionedPollerConfig": config}));
    for (config, minimum, maximum) in [
        (json!({"MinimumPollers": 2, "MaximumPollers": 2}), 2, 2),
        (
            json!({"MinimumPollers": 200, "MaximumPollers": 10_000}),
            200,
            10_000,
        ),
        (json!({"MinimumPollers": 7}), 7, 200),
        (json!({"MaximumPollers": 7}), 2, 7),
    ] {
        let checked = create(&provisioned(config), NOW).unwrap();
        let stored = json!({"MinimumPollers": minimum, "MaximumPollers": maximum});
        assert_eq!(checked.spec.get("ProvisionedPollerConfig"), Some(&stored));
        let pollers = Pollers { minimum, maximum };
        assert_eq!(pollers_of(checked.spec), Some(pollers));
    }
    for (config, member, constraint_text) in [
        (
            json!({"MinimumPollers": 1}),
            "minimumPollers' failed to satisfy constraint: Member must have value greater than or equal to 2",
            "1",
        ),
        (
            json!({"MinimumPollers": 201}),
            "minimumPollers' failed to satisfy constraint: Member must have value less than or equal to 200",
            "201",
        ),
        (
            json!({"MaximumPollers": 1}),
            "maximumPollers' failed to satisfy constraint: Member must have value greater than or equal to 2",
            "1",
        ),
        (
            json!({"MaximumPollers": 10_001}),
            "maximumPollers' failed to satisfy constraint: Member must have value less than or equal to 10000",
            "10001",
        ),
    ] {
        let text = format!("Value '{constraint_text}' at 'provisionedPollerConfig.{member}");
        constraint(&provisioned(config), &text);
    }
    for config in [
        json!({"MinimumPollers": 8, "MaximumPollers": 7}),
        // The default maximum is 200, the default minimum 2.
        json!({"MinimumPollers": 200, "MaximumPollers": 199}),
    ] {
        let text = "MinimumPollers must be less than or equal to MaximumPollers.";
        invalid(&provisioned(config), text);
    }
    let group = json!({"MinimumPollers": 2, "PollerGroupName": "g"});
    invalid(
        &provisioned(group),
        &unsupported("ProvisionedPollerConfig.PollerGroupName"),
    );
}

fn pollers_of(spec: MappingSpec) -> Option<Pollers> {
    match mapping(&row(spec)).unwrap().source {
        Source::Queue(queue) => queue.settings.pollers,
        Source::Stream(_) => unreachable!("it is a queue"),
    }
}

#[test]
fn provisioned_pollers_exclude_a_maximum_concurrency() {
    let text =
        "ProvisionedPollerConfig and ScalingConfig.MaximumConcurrency cannot be set together.";
    let pollers = json!({"MinimumPollers": 3});
    let concurrency = json!({"MaximumConcurrency": 5});
    let both = json!({"ProvisionedPollerConfig": pollers, "ScalingConfig": concurrency});
    invalid(&spec(QUEUE, both), text);
    let checked = create(&spec(QUEUE, json!({"ScalingConfig": concurrency})), NOW);
    let current = row(checked.unwrap().spec);
    let change = |change: Value| serde_json::from_value::<MappingSpec>(change).unwrap();
    let added = update(
        &current,
        &change(json!({"ProvisionedPollerConfig": pollers})),
    );
    assert_eq!(added.unwrap_err()[0].message, text);
    let swap = json!({"ProvisionedPollerConfig": pollers, "ScalingConfig": {}});
    let swapped = update(&current, &change(swap)).unwrap();
    let current = row(swapped.spec.clone());
    assert!(pollers_of(swapped.spec).is_some());
    let removed = update(&current, &change(json!({"ProvisionedPollerConfig": {}}))).unwrap();
    assert_eq!(removed.spec.get("ProvisionedPollerConfig"), None);
    assert_eq!(pollers_of(removed.spec), None);
}
