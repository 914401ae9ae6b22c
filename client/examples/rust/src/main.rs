//! Stores a small context, attends to it and compares the answers with ../vectors.json.
//!
//!     cargo run [-- host:port]

mod vectors;

mod protos {
    include!(concat!(env!("OUT_DIR"), "/protos.rs"));
}

use anyhow::{ensure, Context as _, Result};
use protos::alaya::v1::admin_service_client::AdminServiceClient;
use protos::alaya::v1::attend_options::Target;
use protos::alaya::v1::context_service_client::ContextServiceClient;
use protos::alaya::v1::import_context_request::{Chunk, Header, Part};
use protos::alaya::v1::session_service_client::SessionServiceClient;
use protos::alaya::v1::*;
use tonic::transport::{Channel, Endpoint};
use vectors::{Expected, Vectors};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let address = std::env::args()
        .nth(1)
        .or_else(|| std::env::var("ALAYADB_ADDRESS").ok())
        .unwrap_or_else(|| "127.0.0.1:50600".to_owned());
    let channel = Endpoint::new(format!("http://{address}"))?
        .connect()
        .await?;
    let vectors = Vectors::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../vectors.json"))?;

    let model = Model {
        name: vectors.model.name.clone(),
        num_layers: vectors.model.num_layers,
        num_query_heads: vectors.model.num_query_heads,
        num_kv_heads: vectors.model.num_kv_heads,
        head_dim: vectors.model.head_dim,
        dtype: DType::DtypeF32.into(),
    };
    AdminServiceClient::new(channel.clone())
        .register_model(RegisterModelRequest { model: Some(model) })
        .await?;

    let mut contexts = ContextServiceClient::new(channel.clone());
    let requests = tokio_stream::iter(import_requests(&vectors));
    let context_id = contexts
        .import_context(requests)
        .await?
        .into_inner()
        .context_id;

    attend(channel, &vectors, &context_id).await?;

    let request = ListContextsRequest {
        model: Some(vectors.model.name.clone()),
        ..Default::default()
    };
    let listed = contexts.list_contexts(request).await?.into_inner().contexts;
    ensure!(
        listed
            .iter()
            .any(|context| context.context_id == context_id),
        "context {context_id} is not listed"
    );
    contexts
        .delete_context(DeleteContextRequest { context_id })
        .await?;
    println!("ok: all numbers agree with vectors.json");
    Ok(())
}

/// The header, then the keys and values of each layer. Long contexts send chunks of about 1 MiB.
fn import_requests(vectors: &Vectors) -> Vec<ImportContextRequest> {
    let model = &vectors.model;
    let header = Part::Header(Header {
        model: model.name.clone(),
        tokens: vectors.context.tokens.clone(),
        ..Default::default()
    });
    let chunks = (0..).zip(&vectors.context.layers).map(|(layer, kv)| {
        Part::Chunk(Chunk {
            layer,
            key: Some(tensor(&kv.key, model.num_kv_heads, model.head_dim)),
            value: Some(tensor(&kv.value, model.num_kv_heads, model.head_dim)),
            ..Default::default()
        })
    });
    std::iter::once(header)
        .chain(chunks)
        .map(|part| ImportContextRequest { part: Some(part) })
        .collect()
}

/// Decodes one token: a request per layer, each asked twice, for exact and for DIPR attention.
async fn attend(channel: Channel, vectors: &Vectors, context_id: &str) -> Result<()> {
    let mut sessions = SessionServiceClient::new(channel);
    let session = sessions
        .create_session(CreateSessionRequest {
            model: vectors.model.name.clone(),
            context_id: context_id.to_owned(),
            ..Default::default()
        })
        .await?
        .into_inner();
    println!("session on {} stored tokens", session.reused_tokens);

    let requests = tokio_stream::iter(attend_requests(vectors, &session.session_id));
    let mut responses = sessions.attend(requests).await?.into_inner();
    for (layer, step) in vectors.step.layers.iter().enumerate() {
        let response = responses
            .message()
            .await?
            .context("the stream ended early")?;
        ensure!(
            response.results.len() == 2,
            "{} results",
            response.results.len()
        );
        let expected = [("full", &step.full), ("dipr", &step.dipr)];
        for ((target, expected), result) in expected.into_iter().zip(&response.results) {
            check(result, expected, vectors.tolerance)
                .with_context(|| format!("layer {layer} {target}"))?;
            println!(
                "layer {layer} {target}: {} tokens attended",
                expected.tokens_attended
            );
        }
    }
    let session_id = session.session_id;
    sessions
        .close_session(CloseSessionRequest { session_id })
        .await?;
    Ok(())
}

fn attend_requests(vectors: &Vectors, session_id: &str) -> Vec<AttendRequest> {
    let model = &vectors.model;
    let window = Window {
        sink: vectors.window.sink,
        recent: vectors.window.recent,
    };
    let full = AttendOptions {
        target: Some(Target::Full(FullTarget {})),
        window: Some(window),
        ..Default::default()
    };
    let dipr = AttendOptions {
        target: Some(Target::Dipr(DiprTarget {
            alpha: vectors.alpha,
            ..Default::default()
        })),
        tail_estimate: Some(false),
        ..full
    };
    let layers = (0..).zip(&vectors.step.layers);
    layers
        .map(|(layer, step)| {
            // Sees the new token too, as the item before it has appended its key and value.
            let again = AttendItem {
                session_id: session_id.to_owned(),
                layer,
                query: Some(tensor(&step.query, model.num_query_heads, model.head_dim)),
                options: Some(dipr),
                ..Default::default()
            };
            let append = AttendItem {
                key: Some(tensor(&step.key, model.num_kv_heads, model.head_dim)),
                value: Some(tensor(&step.value, model.num_kv_heads, model.head_dim)),
                options: Some(full),
                ..again.clone()
            };
            AttendRequest {
                request_id: layer.into(),
                items: vec![append, again],
            }
        })
        .collect()
}

/// [tokens, heads, head_dim]; the number of tokens follows from the number of elements.
fn tensor(numbers: &[f32], heads: u32, head_dim: u32) -> Tensor {
    let tokens = numbers.len() as i64 / i64::from(heads * head_dim);
    Tensor {
        dtype: DType::DtypeF32.into(),
        shape: vec![tokens, heads.into(), head_dim.into()],
        data: numbers
            .iter()
            .flat_map(|number| number.to_le_bytes())
            .collect(),
    }
}

fn check(result: &AttendResult, expected: &Expected, tolerance: f32) -> Result<()> {
    let status = result.status.clone().unwrap_or_default();
    ensure!(status.code == 0, status.message);
    check_near(&result.output, &expected.output, tolerance).context("output")?;
    check_near(&result.log_sum_exp, &expected.log_sum_exp, tolerance).context("log_sum_exp")?;
    let attended = result
        .stats
        .as_ref()
        .map_or(0, |stats| stats.tokens_attended);
    ensure!(
        attended == expected.tokens_attended,
        "{attended} tokens attended"
    );
    Ok(())
}

fn check_near(actual: &Option<Tensor>, expected: &[f32], tolerance: f32) -> Result<()> {
    let data = actual.as_ref().map_or(&[][..], |tensor| &tensor.data);
    ensure!(data.len() == 4 * expected.len(), "{} bytes", data.len());
    for (i, (bytes, want)) in data.chunks_exact(4).zip(expected).enumerate() {
        let got = f32::from_le_bytes(bytes.try_into()?);
        ensure!(
            (got - want).abs() <= tolerance,
            "[{i}] is {got}, not {want}"
        );
    }
    Ok(())
}
