fn main() -> std::io::Result<()> {
    tonic_prost_build::configure()
        .build_server(false)
        .include_file("protos.rs")
        .compile_protos(
            &[
                "alaya/v1/admin_service.proto",
                "alaya/v1/context_service.proto",
                "alaya/v1/session_service.proto",
            ],
            &["../../../proto"],
        )
}
