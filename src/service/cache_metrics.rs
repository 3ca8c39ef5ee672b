//! What the cache and the registries did, for Prometheus.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::layers::Layers;
use crate::content::cache::{CachedLayer, Counters, LayerCache};
use crate::content::registry::Traffic;
use crate::digest::Digest;
use crate::telemetry::{Histogram, LATENCY_BOUNDS};

/// Reads the counters of the cache when they are asked for.
pub(super) struct CacheMetrics(pub(super) Arc<Layers>);

/// A name, what it means, and how it is had of a layer.
type OfLayer = (&'static str, &'static str, fn(&CachedLayer) -> u64);
/// A name without its prefix, what it means, and its value.
type Metric = (&'static str, &'static str, u64);

impl fmt::Debug for CacheMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheMetrics").finish_non_exhaustive()
    }
}

impl Collector for CacheMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        counters(&mut encoder, &of_registries(self.0.traffic()))?;
        // A cache that cannot be opened has nothing to say, and the log says why.
        let Ok(cache) = self.0.store().cache() else { return Ok(()) };
        counters(&mut encoder, &of_cache(cache.counters()))?;
        latency(&mut encoder, &cache.counters().miss_latency)?;
        failures(&mut encoder, cache.counters())?;
        gauges(&mut encoder, &of_now(cache))?;
        by_layer(&mut encoder, &cache.in_use())
    }
}

fn of_registries(traffic: &Traffic) -> [Metric; 4] {
    [
        ("registry_requests", "Requests to registries and their storage", traffic.requests()),
        ("registry_retries", "Requests to registries that were repeated", traffic.retries()),
        ("registry_tokens", "Tokens that were asked for", traffic.tokens()),
        ("registry_received_bytes", "Bytes of content from registries", traffic.bytes()),
    ]
}

fn of_cache(counters: &Counters) -> [Metric; 11] {
    let c = counters;
    [
        ("on_demand_reads", "Reads that waited for content to be fetched", c.misses.get()),
        ("on_demand_fetched_bytes", "Compressed bytes fetched for reads", c.demand_bytes.get()),
        (
            "background_fetched_bytes",
            "Compressed bytes fetched before a read wanted them",
            c.ahead_bytes.get(),
        ),
        ("fetches", "Fetches of one or several spans", c.fetches.get()),
        ("layers_completed", "Layers all of which came to be here", c.completed.get()),
        (
            "layers_distrusted",
            "Layers read whole because their table of contents turned out to be wrong",
            c.distrusted.get(),
        ),
        ("cache_hit_bytes", "Bytes that reads got from the cache", c.hit_bytes.get()),
        ("cache_admitted_bytes", "Bytes that were taken in", c.admitted_bytes.get()),
        ("cache_evicted_bytes", "Bytes that were evicted", c.evicted_bytes.get()),
        ("cache_evictions", "Spans that were evicted", c.evicted_spans.get()),
        ("cache_not_kept", "Spans that were not kept for want of room", c.full.get()),
    ]
}

fn of_now(cache: &LayerCache) -> [Metric; 5] {
    let (urgent, trace, rest) = cache.ahead_waiting();
    let size = cache.stored() + cache.whole_stored();
    [
        ("cache_size_bytes", "Bytes of layers in the cache", size),
        ("cache_limit_bytes", "The most bytes of layers that are kept", cache.limit()),
        ("read_ahead_waiting", "Fetches of what follows reads that wait", urgent as u64),
        ("trace_waiting", "Fetches of what starts will read that wait", trace as u64),
        ("background_waiting", "Layers whose rest waits to be fetched", rest as u64),
    ]
}

fn counters(encoder: &mut DescriptorEncoder<'_>, metrics: &[Metric]) -> Result<(), fmt::Error> {
    for (name, help, value) in metrics {
        let counter = ConstCounter::new(*value);
        let name = format!("stratafs_{name}");
        counter.encode(encoder.encode_descriptor(&name, help, None, MetricType::Counter)?)?;
    }
    Ok(())
}

fn gauges(encoder: &mut DescriptorEncoder<'_>, metrics: &[Metric]) -> Result<(), fmt::Error> {
    for (name, help, value) in metrics {
        let name = format!("stratafs_{name}");
        let descriptor = encoder.encode_descriptor(&name, help, None, MetricType::Gauge)?;
        gauge(*value).encode(descriptor)?;
    }
    Ok(())
}

fn gauge(value: u64) -> ConstGauge<i64> {
    ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX))
}

/// How long reads waited.
fn latency(encoder: &mut DescriptorEncoder<'_>, waits: &Histogram) -> Result<(), fmt::Error> {
    let bounds = LATENCY_BOUNDS.into_iter().chain([f64::INFINITY]);
    let buckets: Vec<_> = bounds.zip(waits.buckets()).collect();
    let count = buckets.iter().map(|(_, count)| count).sum();
    let mut descriptor = encoder.encode_descriptor(
        "stratafs_on_demand_read_duration_seconds",
        "How long reads waited for content to be fetched",
        None,
        MetricType::Histogram,
    )?;
    descriptor.encode_histogram::<NoLabelSet>(waits.sum(), count, &buckets, None)
}

/// Bytes that failed their digest, by where they were.
fn failures(encoder: &mut DescriptorEncoder<'_>, counters: &Counters) -> Result<(), fmt::Error> {
    let mut descriptor = encoder.encode_descriptor(
        "stratafs_verification_failures",
        "Spans that did not match their digest, on disk or as they were fetched",
        None,
        MetricType::Counter,
    )?;
    for (place, count) in [("disk", &counters.corrupt), ("fetch", &counters.mismatched)] {
        let labels = [("place", place)];
        ConstCounter::new(count.get()).encode(descriptor.encode_family(&labels)?)?;
    }
    Ok(())
}

/// What is particular to each layer in use.
fn by_layer(
    encoder: &mut DescriptorEncoder<'_>,
    layers: &[(Digest, Arc<CachedLayer>)],
) -> Result<(), fmt::Error> {
    let counts: [OfLayer; 2] = [
        ("stratafs_layer_fetched_bytes", "Compressed bytes fetched of a layer", |layer| {
            layer.counters().fetched_bytes.get()
        }),
        ("stratafs_layer_served_bytes", "Bytes of a layer that reads were given", |layer| {
            layer.counters().served_bytes.get()
        }),
    ];
    for (name, help, value) in counts {
        let mut descriptor = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (digest, layer) in layers {
            let labels = [("layer", digest.to_string())];
            ConstCounter::new(value(layer)).encode(descriptor.encode_family(&labels)?)?;
        }
    }
    let sizes: [OfLayer; 2] = [
        ("stratafs_layer_stored_bytes", "Bytes of a layer in the cache", |layer| {
            layer.state().stored
        }),
        ("stratafs_layer_size_bytes", "Bytes of a layer, uncompressed", |layer| layer.state().size),
    ];
    for (name, help, value) in sizes {
        let mut descriptor = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (digest, layer) in layers {
            let labels = [("layer", digest.to_string())];
            gauge(value(layer)).encode(descriptor.encode_family(&labels)?)?;
        }
    }
    Ok(())
}
