package io.alayadb.example;

import com.google.gson.FieldNamingPolicy;
import com.google.gson.GsonBuilder;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/** The layout of ../vectors.json. */
record Vectors(
    Model model, double alpha, Window window, double tolerance, StoredContext context, Step step) {

  record Model(String name, int numLayers, int numQueryHeads, int numKvHeads, int headDim) {}

  record Window(int sink, int recent) {}

  record StoredContext(List<Integer> tokens, List<KeysAndValues> layers) {}

  record KeysAndValues(float[] key, float[] value) {}

  record Step(List<Layer> layers) {}

  record Layer(float[] query, float[] key, float[] value, Expected full, Expected dipr) {}

  record Expected(float[] output, float[] logSumExp, long tokensAttended) {}

  static Vectors read(Path path) throws IOException {
    var gson =
        new GsonBuilder()
            .setFieldNamingPolicy(FieldNamingPolicy.LOWER_CASE_WITH_UNDERSCORES)
            .create();
    try (var reader = Files.newBufferedReader(path)) {
      return gson.fromJson(reader, Vectors.class);
    }
  }
}
