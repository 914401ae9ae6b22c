// One ImportContext call: checks chunks, leaves out what is stored already, and
// streams the rest to the store.

#ifndef ALAYA_SERVER_ENGINE_CONTEXT_IMPORT_H_
#define ALAYA_SERVER_ENGINE_CONTEXT_IMPORT_H_

#include <memory>

#include "server/engine/admission.h"
#include "server/engine/engine.h"
#include "server/engine/new_context.h"
#include "storage/context/context_store.h"
#include "storage/types/status.h"

namespace alaya {

class CheckedImport : public ContextImport {
 public:
  // `ticket` keeps the engine from draining while the import is under way.
  CheckedImport(Admission::Ticket ticket, std::shared_ptr<const RegisteredModel> model,
                std::unique_ptr<NewContext> context)
      : ticket_(std::move(ticket)), model_(std::move(model)), context_(std::move(context)) {}

  // Errors: InvalidArgument for a chunk of the wrong layer, shape, dtype or values;
  //   FailedPrecondition if it does not continue its layer. The import goes on after
  //   them. What the store says ends it.
  Status AddChunk(const ImportChunk& chunk) override;
  StatusOr<ImportResult> Finish() override;

 private:
  Status CheckChunk(const ImportChunk& chunk) const;
  // The part of a checked chunk that is not stored yet begins here.
  StatusOr<uint64_t> FirstNewToken(const ImportChunk& chunk) const;

  Admission::Ticket ticket_;
  std::shared_ptr<const RegisteredModel> model_;
  std::unique_ptr<NewContext> context_;
  Status failure_;  // of the store; sticks
};

}  // namespace alaya

#endif  // ALAYA_SERVER_ENGINE_CONTEXT_IMPORT_H_
